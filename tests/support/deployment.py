"""The deployed system on one machine: Nginx, several Daphnes, Redis, PostgreSQL.

Each is a child process that can be hurt alone. Nginx runs the files of deploy/nginx.
`python -m tests.support.deployment` starts it for a person to look at.
"""

import datetime as dt
import getpass
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config.embedded import cluster, places
from tests.support.servers import (
    IS_BARE,
    LAST_WORD,
    ROOT,
    Family,
    Redis,
    Rollcall,
    free_port,
    own_environment,
    redis_program,
    var_dir,
    wait_until,
)

DEPLOY = ROOT / "deploy"
SETTING = re.compile(r"^(\w+) = '?([^'\n]*)'?$", re.M)
GAP = re.compile(r"\$\{([A-Z0-9_]+)\}")


class PostgreSQL(Family):
    """A server of its own in `folder`/postgres, on a TCP port it keeps.

    After kill() it comes back as after a power cut: by its write-ahead log. It has the
    settings and the roles of deploy/postgres.
    """

    folder = "/"
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    last_signal = signal.SIGINT  # a fast shutdown: who is connected is cut off

    def __init__(self, folder, **options):
        self.port = free_port()
        self.data = Path(folder) / "postgres"
        self.account = places.account()
        self.url = self.url_as("rollcall")
        self.owner_url = self.url_as("rollcall_owner")
        self.purge_url = self.url_as("rollcall_purge")
        options = {
            **settings_in(DEPLOY / "postgres" / "rollcall.conf"),
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **options,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [places.programs() / "postgres", "-D", self.data, *words]
        super().__init__(command, folder, "postgres")

    def url_as(self, role):
        return f"postgres://{role}@127.0.0.1:{self.port}/{cluster.NAME}"

    def launch(self):
        if not places.is_within_reach(self.data.parent):
            raise RuntimeError(f"PostgreSQL's account must get into {self.data}.")
        if not self.data.exists():
            cluster.make(self.data)
        super().launch()

    def wait_until_ready(self):
        super().wait_until_ready()
        self.execute((DEPLOY / "postgres" / "roles.sql").read_text())
        return self

    def is_ready(self):
        try:
            return self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False

    def execute(self, statement, *values):
        """The rows, if any, of what a superuser asks."""
        url = self.url_as("postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as superuser:
            cursor = superuser.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


class GuardedRedis(Redis):
    """Redis as in deploy/redis; .url (by TCP) is the chat's, .client an operator's."""

    def __init__(self, folder, program=None):
        super().__init__(program or redis_program(), folder)
        passwords = {
            f"REDIS_{name}": secrets.token_urlsafe()
            for name in ("PASSWORD", "OPERATOR_PASSWORD")
        }
        conf = Path(folder) / "redis.conf"
        render(DEPLOY / "redis" / "rollcall.conf.template", conf, passwords)
        path = Path(folder) / "redis.sock"
        place = ["--unixsocket", path, "--bind", "127.0.0.1", "--port", self.port]
        self.command = [str(word) for word in (self.command[0], conf, *place)]
        self.url = self.url_as("rollcall", passwords["REDIS_PASSWORD"])
        self.socket_url = f"unix://rollcall:{passwords['REDIS_PASSWORD']}@{path}"
        operator = self.url_as("operator", passwords["REDIS_OPERATOR_PASSWORD"])
        self.client = redis.Redis.from_url(operator, socket_timeout=1)

    def url_as(self, user, password):
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"


class Daphne(Rollcall):
    """One of several behind Nginx, on a unix socket."""

    def __init__(self, folder, name, **environment):
        self.socket_path = str(Path(folder) / f"{name}.sock")
        options = ("--unix-socket", self.socket_path, "--prepared")
        super().__init__(folder, *options, **environment)
        self.log_path = Path(folder) / f"{name}.log"
        self.log_path.touch()


class Nginx(Family):
    """Nginx with the files of deploy/nginx; `values` are what they leave open."""

    def __init__(self, folder, values):
        self.port = free_port()
        self.metrics_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.etc = Path(folder) / "nginx"
        self.etc.mkdir()
        for template in (DEPLOY / "nginx").glob("*.template"):
            render(template, self.etc / template.stem, self.own_values() | values)
        conf = self.etc / "nginx.conf"
        command = [nginx_program(), "-c", conf, "-e", "stderr", "-g", "daemon off;"]
        super().__init__(command, folder, "nginx-stderr")

    def own_values(self):
        return {
            "SCHEME": "http",
            "IF_INET6": "# ",
            "HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "SERVER_NAME": "127.0.0.1",
            "PUBLIC_HOST": f"127.0.0.1:{self.port}",
            "NGINX_USER": getpass.getuser(),
            "NGINX_RUN": self.etc,
            "NGINX_ERROR_LOG": "stderr",
            "NGINX_ACCESS_LOG": self.etc / "access.log",
            "NGINX_WORKERS": 1,
            # One machine plays all visitors.
            "HANDSHAKES": 1000,
            "GATE_LINE": 10_000,
            "HANDSHAKES_PER_ADDRESS": 1000,
            "DOORS_PER_ADDRESS": 1000,
            "SOCKETS_PER_ADDRESS": 10_000,
            "PAGES_PER_ADDRESS": 1000,
            "PAGES_AT_ONCE": 10_000,
        }

    def is_ready(self):
        return (self.etc / "nginx.pid").exists() and len(self.members()) > 1

    def reload(self):
        """New workers with the files as they are now; the former keep their sockets."""
        former = self.workers()
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: set(self.workers()) - set(former))
        wait_until(lambda: all(map(is_leaving, former)))

    def workers(self):
        return self.members()[1:]

    @property
    def access_log(self):
        return (self.etc / "access.log").read_text()


def is_leaving(worker):
    """Whether it takes no new connections any more."""
    try:
        return "shutting down" in " ".join(worker.cmdline())
    except psutil.NoSuchProcess:
        return True


class TLSNginx(Nginx):
    """As in public: a page over http is sent on to https."""

    def __init__(self, folder, values):
        self.http_port = free_port()
        self.certificate, self.key = make_certificate(folder)
        super().__init__(folder, values)
        self.url = f"https://localhost:{self.port}"

    def own_values(self):
        return super().own_values() | {
            "SCHEME": "https",
            "HTTP_LISTEN": f"127.0.0.1:{self.http_port}",
            "HTTPS_LISTEN": f"127.0.0.1:{self.port}",
            "SERVER_NAME": "localhost",
            "PUBLIC_HOST": f"localhost:{self.port}",
            "ACME_ROOT": self.etc / "acme",
            "CERTIFICATE": self.certificate,
            "CERTIFICATE_KEY": self.key,
        }


class Deployment:
    """All of it. start() returns when it serves; stop() leaves nothing that runs.

    `nginx` holds values for Nginx's files, `environment` variables for all Daphnes. For
    the variables of one (a proxy between it and a store), override `environment_of`.
    """

    def __init__(self, folder, daphnes=3, *, tls=False, nginx=None, **environment):
        self.folder = Path(folder)
        self.postgres = PostgreSQL(self.folder)
        self.redis = GuardedRedis(self.folder)
        names = [f"daphne-{nth}" for nth in range(daphnes)]
        servers = [
            f"server unix:{self.folder / name}.sock max_fails=0;" for name in names
        ]
        values = {
            "DAPHNES": " ".join(servers),
            "SOCKETS": self.folder / "daphne-",
            "STATIC_ROOT": self.var / "static",
        }
        self.nginx = (TLSNginx if tls else Nginx)(self.folder, values | (nginx or {}))
        self.environment = {
            "PUBLIC_URL": self.url,
            "TRUST_PROXY": "true",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "VAR_DIR": self.var,
            **environment,
        }
        self.daphnes = [
            Daphne(self.folder, name, **self.environment | self.environment_of(nth))
            for nth, name in enumerate(names)
        ]

    def environment_of(self, nth):
        """What differs for the nth Daphne, from 0."""
        return {}

    @property
    def var(self):
        return self.folder / "var"

    @property
    def url(self):
        return self.nginx.url

    @property
    def ws_url(self):
        return self.url.replace("http", "ws", 1)

    def start(self):
        try:
            self.postgres.start()
            self.redis.start()
            self.manage("prepare")
            for daphne in self.daphnes:
                daphne.launch()
            for daphne in self.daphnes:
                daphne.wait_until_ready()
            self.nginx.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """Stop what runs, in peace; what does not go in peace is killed, and told."""
        stubborn = [
            process
            for together in ([self.nginx], self.daphnes, [self.redis], [self.postgres])
            for process in stop_together(together)
        ]
        if stubborn:
            raise RuntimeError(f"had to be killed: {[p.command for p in stubborn]}")

    def manage(self, *words, url=None):
        """Run `manage.py` as the owner of the tables, or the role of `url`; what it
        printed."""
        url = url or self.postgres.owner_url
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=own_environment(**self.environment | {"DATABASE_URL": url}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout


def render(template, path, values):
    """Write the template with its gaps filled in, as envsubst does."""
    text = template.read_text()
    path.write_text(GAP.sub(lambda gap: str(values.get(gap[1], "")), text))


def settings_in(path):
    """The settings of a postgresql.conf, by name."""
    return dict(SETTING.findall(path.read_text()))


def stop_together(processes):
    """Stop those that run; those that had to be killed."""
    running = [process for process in processes if process.is_running]
    for process in running:
        process.tell_to_stop()
    return [process for process in running if not went_in_peace(process)]


def went_in_peace(process):
    try:
        process.process.wait(timeout=LAST_WORD)
    except subprocess.TimeoutExpired:
        process.kill()
        return False
    return True


def nginx_program():
    sbin = [] if IS_BARE else ["/usr/sbin", "/usr/local/sbin"]
    return shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], *sbin]))


def make_certificate(folder, name="localhost"):
    """A self-signed certificate for `name`, and its key: two paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    paths = Path(folder) / "certificate.pem", Path(folder) / "certificate.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def new_folder():
    """A folder of this run with a short path, for sockets, open to PostgreSQL."""
    folder = Path(tempfile.mkdtemp(dir=var_dir()))
    folder.chmod(0o711)
    return folder


def main():
    if not nginx_program():
        sys.exit("nginx is missing: apt-get install nginx")
    deployment = Deployment(new_folder())
    print("Starting PostgreSQL, Redis, 3 Daphnes and Nginx …", flush=True)
    deployment.start()
    try:
        print(f"Rollcall is deployed: open {deployment.url}")
        print(f"Logs and data are in {deployment.folder} until Ctrl-C stops it.")
        signal.pause()
    finally:
        deployment.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with suppress(KeyboardInterrupt):
        main()
