import secrets

from django.db import models


def new_epoch():
    return secrets.token_hex(8)


class Installation(models.Model):
    """The one row that stands for this installation.

    Its `epoch` is part of every cursor: after a restore from a backup the same numbers
    are given to other events, and only the epoch tells the two apart.
    """

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    epoch = models.CharField(max_length=32, default=new_epoch, editable=False)
    since = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="one_installation")
        ]

    def __str__(self):
        return self.epoch

    @classmethod
    def current(cls):
        return cls.objects.get_or_create(id=1)[0]

    @classmethod
    def lock(cls):
        """The row, locked until the transaction ends; for what may happen only once."""
        cls.current()
        return cls.objects.select_for_update().get(id=1)

    @classmethod
    def renew(cls) -> None:
        """Give it a new epoch: no cursor that was given out is good any more."""
        cls.current()
        cls.objects.update(epoch=new_epoch())
