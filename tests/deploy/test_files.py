"""The files of deploy/, as far as they can be tried without a machine to install on."""

import os
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.support.deployment import DEPLOY, GAP, make_certificate, new_folder
from tests.support.servers import ROOT, VARIABLES, free_port

INSTALL = DEPLOY / "install.sh"
UNITS = sorted((DEPLOY / "systemd").glob("rollcall*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
TEMPLATES = sorted((DEPLOY / "nginx").glob("*.template"))
COMPOSE = (DEPLOY / "compose.yml").read_text()


def names(paths):
    return {"argvalues": paths, "ids": [path.name for path in paths]}


def gaps():
    """The names of all that the templates of Nginx leave open."""
    lines = [line for path in TEMPLATES for line in path.read_text().splitlines()]
    return {name for line in lines if line[:1] != "#" for name in GAP.findall(line)}


# install.sh -----------------------------------------------------------------------


NOT_ON_A_FRESH_DEBIAN = {
    *("nginx", "redis-server", "psql", "pg_lsclusters", "envsubst", "openssl", "curl"),
}


def install(*options, **environment):
    return subprocess.run(
        [INSTALL, *options],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env=os.environ | environment,
    )


@pytest.fixture(params=["this machine", "a fresh Debian"])
def programs(request, tmp_path):
    """A PATH, once without all that the installer has still to install."""
    if request.param == "this machine":
        return os.environ["PATH"]
    for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        for program in Path(folder).glob("*"):
            link = tmp_path / program.name
            if program.name not in NOT_ON_A_FRESH_DEBIAN and not link.is_symlink():
                link.symlink_to(program)
    return str(tmp_path)


def test_a_dry_run_shows_every_step_and_does_none(programs):
    places = [
        Path("/etc/rollcall"),
        Path("/opt/rollcall"),
        Path("/usr/local/bin/rollcall"),
    ]
    before = [place.exists() for place in places]
    done = install(
        "--name", "chat.example.org", "--processes", "3", "--dry-run", PATH=programs
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    steps = re.findall(r"^(?! )(\w.*)$", done.stdout, re.M)
    assert [step.split()[0].strip(",") for step in steps] == [
        "Packages",
        "The",
        "Secrets",
        "The",
        "PostgreSQL",
        "Redis",
        "Settings",
        "Services",
        "Tables",
        "Nginx",
        "A",
        "Nothing",
    ]
    for nth in (1, 2, 3):
        assert f"systemctl restart rollcall@{nth}\n" in done.stdout
    assert "rollcall@4" not in done.stdout
    assert before == [place.exists() for place in places]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "--name must be a name such as chat.example.org"),
        (["--name", "https://chat.example.org/"], "--name must be a name"),
        (["--name", "chat; rm -rf /"], "--name must be a name"),
        (["--name"], "--name needs a value"),
        (["--nmae", "chat.example.org"], "--nmae is no option"),
        (["--name", "a.b", "--processes", "0"], "--processes must be 1 to 16"),
        (
            ["--name", "a.b", "--certificate", "x"],
            "--certificate and --key go together",
        ),
        (
            ["--name", "a.b", "--certificate", "x", "--key", "y", "--acme", "a@b.c"],
            "--acme or --certificate, not both",
        ),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(options, sentence):
    done = (
        install(*options, "--dry-run") if options != ["--name"] else install("--name")
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def in_install(script, *words, **environment):
    """Run bash with the functions of install.sh at hand; what it printed."""
    source = INSTALL.read_text().replace('\nmain "$@"\n', "\n")
    done = subprocess.run(
        ["bash", "-c", f"{source}\n{script}", str(INSTALL), *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {key: str(value) for key, value in environment.items()},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_is_written_once_and_whole_and_closed(tmp_path):
    path = tmp_path / "new" / "secret"
    owner = f"{os.getuid()}:{os.getgid()}"
    write = (
        f'echo "$2" | write "$1" 0640 {owner}; has_changed "$1" && echo changed || true'
    )
    assert "changed" in in_install(write, path, "one")
    assert path.read_text() == "one\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert in_install(write, path, "one") == ""
    assert "changed" in in_install(write, path, "two")
    assert path.read_text() == "two\n"
    assert [one.name for one in path.parent.iterdir()] == ["secret"]


def shown(script, *words, **environment):
    """The commands that `script` shows, in order: without its headings."""
    lines = in_install(f"dry=yes\n{script}", *words, **environment).splitlines()
    return [line.strip() for line in lines if line.startswith("    ")]


def test_what_an_aborted_run_changed_is_not_forgotten(tmp_path):
    run = (
        "etc=$1 name=a.b; begin; has_changed /any && echo changed; [[ ! $2 ]] || finish"
    )
    assert in_install(f"{run} >/dev/null", tmp_path / "etc", "") == ""
    assert "changed" in in_install(run, tmp_path / "etc", "")
    assert "changed" in in_install(run, tmp_path / "etc", "to the end")
    assert "changed" not in in_install(run, tmp_path / "etc", "to the end")
    assert list((tmp_path / "etc").iterdir()) == []


def test_a_dry_run_leaves_no_trace_of_an_abort(tmp_path):
    in_install("etc=$1 dry=yes; begin; finish", tmp_path / "etc")
    assert not (tmp_path / "etc").exists()


@pytest.fixture
def opt(tmp_path):
    """Two releases, of which the older one is the current one."""
    for name in ("older", "newer"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "older")
    return tmp_path


START = """
opt=$1 release=$1/releases/newer processes=2
systemctl() { echo "    $* with $(basename "$(readlink "$opt/current")")"; REFUSE; }
note() { :; }
(start_processes) 2>&1
echo "    ended with $?"
"""


def start(opt, refuse="[[ $1 != is-enabled ]]"):
    script = START.replace("REFUSE", refuse)
    said = in_install(f"set +e\n{script}", opt).splitlines()
    return [line.strip() for line in said if line.startswith("    ")]


def test_processes_are_started_with_the_new_release(opt):
    said = start(opt)
    assert said[0] == "restart rollcall-prepare with newer"
    assert "restart rollcall@2 with newer" in said
    assert said[-1] == "ended with 0"
    assert (opt / "current").readlink().name == "newer"


def test_a_release_that_cannot_be_prepared_does_not_become_the_current_one(opt):
    said = start(opt, refuse="[[ $2 != rollcall-prepare ]]")
    assert said == ["restart rollcall-prepare with newer", "ended with 1"]
    assert (opt / "current").readlink().name == "older"


CLUSTERS = """\
15 main 5432 online postgres /var/lib/postgresql/15/main /var/log/15.log
17 main 5433 online postgres /var/lib/postgresql/17/main /var/log/17.log
"""
SET_UP = """
pg_lsclusters() { cat <<<"$CLUSTERS"; }
ask_postgres() { echo "$ANSWER"; }
release=/new OWNER_PASSWORD=o APP_PASSWORD=a PURGE_PASSWORD=p
set_up_postgres
"""


def set_up_postgres(answer):
    return shown(SET_UP, CLUSTERS=CLUSTERS, ANSWER=answer)


def test_of_two_clusters_the_one_in_use_gets_checksums():
    said = set_up_postgres("off")
    wanted = [nth for nth, line in enumerate(said) if "pg_checksums" in line]
    assert len(wanted) == 1
    assert said[wanted[0] - 1] == "systemctl stop postgresql@15-main"
    assert "/15/main" in said[wanted[0]]
    assert said[wanted[0] + 1] == "systemctl start postgresql@15-main"
    assert "17" not in " ".join(said)


@pytest.mark.parametrize("answer", ["on", ""])
def test_who_has_checksums_or_gives_no_answer_is_not_stopped(answer):
    said = set_up_postgres(answer)
    assert "systemctl start postgresql@15-main" in said
    assert not [line for line in said if "pg_checksums" in line or "stop" in line]


def test_postgres_is_started_again_where_checksums_fail():
    script = """
        run() { echo "    $*"; [[ $* != *pg_checksums* ]]; }
        set +e
        add_checksums 15/main postgresql@15-main
        echo "    ended with $?"
    """
    said = shown(script)
    assert said[-2:] == ["systemctl start postgresql@15-main", "ended with 1"]


@pytest.mark.parametrize(("cores", "processes"), [(1, 2), (2, 2), (8, 8), (64, 16)])
def test_there_are_two_processes_at_least(cores, processes):
    said = in_install("nproc() { echo $CORES; }; default_processes", CORES=cores)
    assert int(said) == processes


def test_debians_own_redis_is_switched_off_and_ours_is_not():
    script = "REDIS_PASSWORD=r REDIS_OPERATOR_PASSWORD=o; set_up_redis"
    said = [line for line in shown(script) if "able --quiet" in line]
    assert said == [
        "systemctl disable --quiet --now redis-server.service",
        "systemctl enable --quiet --now redis-server@rollcall",
    ]


def test_nobody_waits_at_the_gate_for_longer_than_a_page_does():
    values = "name=a.b processes=3 sockets=50 pages=50; export_nginx_values; env"
    page = (ROOT / "static" / "js" / "room" / "connection.js").read_text()
    patience = int(re.search(r"HANDSHAKE = ([\d_]+)", page)[1]) / 1000
    for text in (in_install(values), COMPOSE):
        rate, line = (
            int(re.search(rf'\b{name}(?:=|: ")(\d+)', text)[1])
            for name in ("HANDSHAKES", "GATE_LINE")
        )
        assert line / rate < 0.75 * patience


def test_access_to_postgres_is_added_once(tmp_path):
    (tmp_path / "pg_hba.conf").write_text("local all all peer\n")
    once = in_install('access "$1"', tmp_path)
    roles = "rollcall,rollcall_owner,rollcall_purge"
    assert once.splitlines()[1] == f"local rollcall {roles} scram-sha-256"
    assert once.splitlines()[-1] == "local all all peer"
    (tmp_path / "pg_hba.conf").write_text(once)
    assert in_install('access "$1"', tmp_path) == once


def test_secrets_are_made_once(tmp_path):
    script = (
        'etc=$1; write() { cat >"$1"; }; make_secrets >/dev/null; echo "$SECRET_KEY"'
    )
    key = in_install(script, tmp_path)
    assert len(key.strip()) == 64
    assert in_install(script, tmp_path) == key
    kept = (tmp_path / "secrets").read_text()
    assert len(set(re.findall(r"=(\w{64})$", kept, re.M))) == 6


def test_ones_own_settings_outlive_an_upgrade(tmp_path):
    script = (
        "etc=$1 name=a.b processes=1 acme= certificate= key= email= sockets=5 pages=5;"
        "SECRET_KEY=k OWNER_PASSWORD=o APP_PASSWORD=a PURGE_PASSWORD=p;"
        "REDIS_PASSWORD=r;"
        'write() { cat >"$1.new"; mv "$1.new" "$1"; }; write_environment'
    )
    in_install(script, tmp_path)
    settings = tmp_path / "rollcall.env"
    with settings.open("a") as file:
        file.write("DATABASE_POOL=20\n")
    before = settings.read_text()
    in_install(script, tmp_path)
    assert settings.read_text() == before
    assert before.endswith("DATABASE_POOL=20\n")


def test_the_release_holds_all_that_runs_and_no_secret():
    listed = in_install("pack | tar -t").splitlines()
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True)
    apart = re.compile(r"^(tests/|\.|Makefile)")
    wanted = {path for path in tracked.splitlines() if not apart.match(path)}
    assert wanted <= set(listed), wanted - set(listed)
    assert not [path for path in listed if path.endswith((".env", ".pyc", ".pem"))]


# Nginx ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_nginx_takes_what_the_installer_makes_of_its_files(find_program, scheme):
    nginx, _envsubst = find_program("nginx"), find_program("envsubst")
    folder = new_folder()
    certificate, key = make_certificate(folder)
    script = """
        name=chat.example.org processes=3 sockets=50 pages=50
        export_nginx_values
        export HTTP_LISTEN=$2 HTTPS_LISTEN=$3 METRICS_LISTEN=127.0.0.1:$4
        export CERTIFICATE=$5 CERTIFICATE_KEY=$6 SCHEME=$7 NGINX_RUN=$1
        export NGINX_ERROR_LOG=stderr NGINX_ACCESS_LOG=$1/access.log
        for template in deploy/nginx/*.template; do
            fill_in "$template" >"$1/$(basename "$template" .template)"
        done
    """
    ports = [free_port() for _nth in range(3)]
    in_install(script, folder, *ports, certificate, key, scheme)
    done = subprocess.run(
        [nginx, "-t", "-c", folder / "nginx.conf", "-e", "stderr"],
        capture_output=True,
        text=True,
    )
    assert "test is successful" in done.stderr, done.stderr
    upstreams = re.findall(
        r"unix:/run/rollcall/(\d)\.sock max", (folder / "nginx.conf").read_text()
    )
    assert upstreams == ["1", "2", "3"] * 2


def test_every_gap_is_filled_by_the_installer_and_by_compose():
    script = INSTALL.read_text()
    assert len(gaps()) > 15
    assert [gap for gap in gaps() if f"{gap}=" not in script] == []
    assert [gap for gap in gaps() if f"      {gap}: " not in COMPOSE] == []


# systemd --------------------------------------------------------------------------


def read(unit):
    parser = ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read(unit)
    return parser


@pytest.mark.parametrize("unit", **names(SERVICES))
def test_a_service_runs_a_command_that_is_there(unit):
    service = read(unit)["Service"]
    command = re.search(r"/opt/rollcall/current/(\S+) (\w+)", unit.read_text())
    assert os.access(ROOT / command[1], os.X_OK)
    assert command[2] in {"serve", "prepare", "backup", "purge"}
    assert service["EnvironmentFile"].startswith("/etc/rollcall/")
    assert "User" not in service  # hardening.conf says it, for all


def test_a_process_has_the_time_to_take_leave():
    service = read(DEPLOY / "systemd" / "rollcall@.service")["Service"]
    assert int(service["TimeoutStopSec"]) == 40
    assert service["Restart"] == "always"
    assert service["Type"] == "notify"


def test_services_can_do_what_they_do_and_no_more():
    service = read(DEPLOY / "systemd" / "hardening.conf")["Service"]
    assert service["User"] == "rollcall"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    for setting in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictRealtime"):
        assert service[setting] == "yes"


# What Nginx's master does that ours do not, or what stands otherwise in Debian's unit.
NGINX_OTHERWISE = {
    *("User", "Group", "SupplementaryGroups", "StateDirectory", "StateDirectoryMode"),
    *("UMask", "RemoveIPC"),  # they go with a user of its own
    *("CapabilityBoundingSet", "ProtectHome", "SystemCallFilter"),
}


def test_nginx_can_do_what_it_does_and_no_more():
    ours = read(DEPLOY / "systemd" / "hardening.conf")["Service"]
    its = read(DEPLOY / "systemd" / "nginx.conf")["Service"]
    same = {name: value for name, value in ours.items() if name not in NGINX_OTHERWISE}
    assert len(same) > 15
    assert {name: its.get(name) for name in same} == same
    assert its["ProtectHome"] == "read-only"
    assert its["SystemCallFilter"] == "@system-service"
    assert "CAP_SYS" not in its["CapabilityBoundingSet"]
    assert its["ReadWritePaths"] == "/run /var/lib/nginx /var/log/nginx"


def test_systemd_finds_nothing_wrong(find_program, tmp_path):
    program = find_program("systemd-analyze")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/rollcall/current", str(ROOT))
        (tmp_path / unit.name.replace("@", "@1")).write_text(text)
        if unit.suffix == ".service":
            folder = tmp_path / f"{unit.name.replace('@', '@1')}.d"
            folder.mkdir()
            shutil.copy(DEPLOY / "systemd" / "hardening.conf", folder)
    (tmp_path / "nginx.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "nginx.service.d").mkdir()
    nginx = DEPLOY / "systemd" / "nginx.conf"
    shutil.copy(nginx, tmp_path / "nginx.service.d" / "rollcall.conf")
    paths = [path for path in tmp_path.iterdir() if path.is_file()]
    done = subprocess.run(
        [program, "verify", "--man=no", *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "rollcall" not in done.stderr, done.stderr


# Containers -----------------------------------------------------------------------


def test_the_image_holds_all_that_runs():
    copied = set(
        re.findall(r"^COPY ([a-z].+) /\S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    )
    copied = {word for line in copied for word in line.split()}
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"manage.py", "templates", "static", "locale"} <= copied
    assert {path.partition("/")[0] for path in copied} <= let_in


def test_the_example_names_all_that_compose_asks_for():
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE))
    example = (DEPLOY / "compose.env.example").read_text()
    assert asked == set(re.findall(r"^(\w+)=", example, re.M))


def test_compose_sets_only_what_rollcall_reads():
    [block] = re.findall(r"environment: &environment\n((?: {4}.+\n)+)", COMPOSE)
    names = set(re.findall(r"^ {4}([A-Z_]+):", block, re.M))
    assert names <= set(VARIABLES)
    assert {"PUBLIC_URL", "SECRET_KEY", "DATABASE_URL", "REDIS_URL"} <= names


def test_what_compose_mounts_is_there():
    mounted = re.findall(r"- \./([\w./-]+):/", COMPOSE)
    assert "nginx" in mounted
    assert [
        path for path in mounted if path != "tls" and not (DEPLOY / path).exists()
    ] == []


def test_nginx_looks_for_processes_that_were_replaced():
    image = re.search(r"image: nginx:(\d+)\.(\d+)", COMPOSE)
    assert (int(image[1]), int(image[2])) >= (1, 28)  # `resolve` came with 1.27.3
    assert (
        "resolver 127.0.0.11 valid=5s; server web:8000 resolve max_fails=0;" in COMPOSE
    )
