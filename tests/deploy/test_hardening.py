"""Rows of docs/OPERATIONS.md's hardening list that no other test looks at."""

import re

import pytest
from django.conf import settings
from django.db import connection

from config.server.daphne import Server
from tests.support.deployment import DEPLOY, render


@pytest.fixture
def nginx(tmp_path):
    """What Nginx reads, by the name of the file, with the gaps filled in."""
    values = {"DAPHNES": "server unix:/run/1.sock max_fails=0;", "HTTPS_LISTEN": "443"}
    for template in (DEPLOY / "nginx").glob("*.template"):
        render(template, tmp_path / template.stem, values)
    return {path.name: path.read_text() for path in tmp_path.iterdir()}


def location(text, path):
    """The lines of one location."""
    return re.search(rf"^location {re.escape(path)} \{{\n(.*?)^\}}", text, re.M | re.S)[
        1
    ]


@pytest.fixture
def server():
    return Server(application=None, listener=None, on_ready=None)


def test_nginx_waits_longer_for_a_socket_than_daphne_takes_to_notice(nginx, server):
    sockets = location(nginx["site.conf"], "/ws/")
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", sockets)
    assert int(seconds) == 75
    assert int(seconds) > server.ping_interval + server.ping_timeout


def test_nginx_waits_longer_for_a_page_than_daphne_does(nginx, server):
    [seconds] = re.findall(r"^proxy_read_timeout (\d+)s;", nginx["site.conf"], re.M)
    assert int(seconds) > server.http_timeout


def test_nginx_asks_another_process_only_where_none_took_it(nginx):
    assert re.findall(r"proxy_next_upstream (.+);", nginx["proxy.conf"]) == ["error"]


def test_nginx_has_descriptors_for_both_ends_of_its_sockets(nginx):
    [descriptors] = re.findall(r"worker_rlimit_nofile (\d+);", nginx["nginx.conf"])
    [connections] = re.findall(r"worker_connections (\d+);", nginx["nginx.conf"])
    assert int(descriptors) >= 2 * int(connections)


def test_slow_visitors_are_let_go(nginx):
    for what in ("client_header_timeout", "client_body_timeout"):
        assert f"{what} 10s;" in nginx["nginx.conf"]


def test_all_limits_count_visitors_not_addresses(nginx):
    keys = re.findall(r"limit_(?:req|conn)_zone (\S+)", nginx["nginx.conf"])
    assert len(keys) == 6
    # The third is all of them together; a visitor at a door is one who sends a POST.
    assert set(keys) == {"$visitor", "$visitor_at_door", "$server_name"}
    assert "POST $visitor;" in nginx["nginx.conf"]


def test_backlog_and_buffers_are_those_of_the_list(nginx):
    for name in ("http.conf", "https.conf"):
        assert "backlog=4096 sndbuf=128k;" in nginx[name]


def test_daphne_pings_and_gives_up_as_the_list_says(server):
    assert (server.ping_interval, server.ping_timeout) == (25, 20)
    assert server.websocket_connect_timeout == 5
    assert server.websocket_timeout == -1  # no age limit
    assert server.http_timeout == 30
    assert server.server_name == ""


def test_no_thread_keeps_a_connection_and_servers_share_a_pool():
    assert settings.DATABASES["default"]["CONN_MAX_AGE"] == 0
    assert settings.DATABASES["default"]["CONN_HEALTH_CHECKS"] is True
    assert settings.SERVING_DATABASE_OPTIONS["pool"]["max_size"] == 10
    assert settings.SERVING_DATABASE_OPTIONS["pool"]["timeout"] == 3


@pytest.mark.django_db
def test_a_head_has_room_on_its_page_and_is_cleaned_early():
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'rooms_head'")
        [[options]] = cursor.fetchall()
    assert set(options) == {
        "fillfactor=50",
        "autovacuum_vacuum_threshold=200",
        "autovacuum_vacuum_scale_factor=0.05",
    }


def test_redis_cuts_off_who_does_not_listen():
    text = (DEPLOY / "redis" / "rollcall.conf.template").read_text()
    assert "\nclient-output-buffer-limit pubsub 8mb 2mb 30\n" in text
    assert "\ntcp-keepalive 60\n" in text


def test_nothing_that_is_deployed_turns_debugging_on():
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if re.search(r"\bDEBUG\b", path.read_text())] == []
