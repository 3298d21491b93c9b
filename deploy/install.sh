#!/usr/bin/env bash
# From a fresh Debian (12 or newer) to a running Rollcall; from one release to the next; to
# more or fewer processes. Run again, it does what is still to be done.
set -euo pipefail
shopt -s lastpipe # what write() notes at the end of a pipe is kept
cd -P "$(dirname "$0")/.."
umask 022

usage() {
    cat <<HELP
sudo deploy/install.sh --name chat.example.org [options]

  --name NAME         the name people type; its DNS entry must lead here
  --processes N       how many Daphnes (default: one for each core, two at least)
  --acme EMAIL        a certificate from Let's Encrypt, which writes to EMAIL in trouble
  --certificate FILE  a certificate of your own, with its chain, and
  --key FILE          its key
  --email URL         the mail server, as smtp+tls://user:password@host:587
  --sockets N         open sockets of one address (default 1000, for an office)
  --pages N           requests for pages that one address may send in a second, and four
                      times as many at once (default 50)
  --dry-run           change nothing, and say what would be done

What was given is kept in /etc/rollcall/install.conf, and need not be given again. Without
--acme and --certificate the site makes a certificate itself; browsers warn about those.
HELP
}

etc=/etc/rollcall
opt=/opt/rollcall
systemd=/etc/systemd/system
sources=(accounts config deploy docs locale messaging requirements rooms static templates
    CHANGELOG.md CONTRIBUTING.md LICENSE README.md SECURITY.md manage.py pyproject.toml)

main() {
    read_options "$@"
    settle_all
    check_machine
    begin
    install_packages
    make_account
    make_secrets
    install_release
    set_up_postgres
    set_up_redis
    write_environment
    write_units
    start_processes
    set_up_nginx
    get_certificate
    look_at_it
    finish
}

# What is wanted -------------------------------------------------------------------

dry=
declare -A given=()
name='' processes='' acme='' certificate='' key='' email='' sockets='' pages='' # see settle

read_options() {
    while (($#)); do
        case $1 in
            --dry-run) dry=yes && shift ;;
            --help) usage && exit ;;
            --name | --processes | --acme | --certificate | --key | --email | --sockets | --pages)
                (($# > 1)) || fail "$1 needs a value."
                given[${1#--}]=$2
                shift 2
                ;;
            *) fail "$1 is no option: see --help." ;;
        esac
    done
}

settle_all() {
    settle name ""
    settle processes "$(default_processes)"
    settle acme ""
    settle certificate ""
    settle key ""
    settle email ""
    settle sockets 1000
    settle pages 50
    [[ $name =~ ^[a-z0-9-]+(\.[a-z0-9-]+)+$ ]] ||
        fail "--name must be a name such as chat.example.org; it is '$name'."
    [[ $processes =~ ^([1-9]|1[0-6])$ ]] || fail "--processes must be 1 to 16."
    [[ $sockets =~ ^[1-9][0-9]{0,5}$ ]] || fail "--sockets must be 1 to 999999."
    [[ $pages =~ ^[1-9][0-9]{0,3}$ ]] || fail "--pages must be 1 to 9999."
    [[ ${certificate:+x} == "${key:+x}" ]] || fail "--certificate and --key go together."
    [[ -z $certificate || -z $acme ]] || fail "Give --acme or --certificate, not both."
}

default_processes() { # Two at least: one serves while the other is restarted.
    local cores
    cores=$(nproc)
    echo $((cores < 2 ? 2 : cores > 16 ? 16 : cores))
}

settle() { # NAME DEFAULT: as given now, else as given before, else the default
    local before=
    [[ ! -r $etc/install.conf ]] || before=$(sed -n "s/^$1=//p" "$etc/install.conf")
    printf -v "$1" %s "${given[$1]-${before:-$2}}"
}

check_machine() {
    [[ -r /etc/debian_version ]] || fail "This is no Debian: see deploy/compose.yml."
    [[ $dry ]] || ((EUID == 0)) || fail "Run it as root, or with --dry-run."
}

# How things are done --------------------------------------------------------------

changed=()  # the paths this run has written
unfinished= # whether the run before broke off: what it wrote may still wait for a restart

step() { printf '\n%s\n' "$*"; }
note() { printf '    %s\n' "$*"; }

fail() {
    echo "$*" >&2
    exit 1
}

run() { # Run a command, and show it; only show it in a dry run.
    note "$*"
    [[ $dry ]] || "$@"
}

write() { # PATH MODE [OWNER:GROUP]: put standard input there, unless it is there already
    local path=$1 mode=$2 owner=${3:-root:root} text
    text=$(cat)
    ! cmp --quiet "$path" <(printf '%s\n' "$text") 2>/dev/null || return 0
    changed+=("$path")
    note "write $path (mode $mode, $owner)"
    [[ ! $dry ]] || return 0
    mkdir -p "$(dirname "$path")"
    # Beside it with its rights, then into place: never half a file, or an open secret.
    install -m "$mode" -o "${owner%:*}" -g "${owner#*:}" /dev/null "$path.new"
    printf '%s\n' "$text" >"$path.new"
    mv "$path.new" "$path"
}

begin() {
    [[ ! -e $etc/unfinished ]] || unfinished=yes
    [[ ! $dry ]] || return 0
    mkdir -p "$etc"
    touch "$etc/unfinished"
}

finish() {
    if [[ $dry ]]; then
        step "Nothing was changed."
    else
        rm -f "$etc/unfinished"
        step "Rollcall runs: open https://$name."
        say_setup_code
    fi
}

say_setup_code() { # if nobody has set the chat up yet; a later run prints no code
    local code
    code=$(/usr/local/bin/rollcall setup_code 2>/dev/null) || return 0
    note "Set it up there with the set-up code $code."
}

has_changed() { # PREFIX…: whether a path that begins so was written, or may have been
    local path prefix
    [[ ! $unfinished ]] || return 0
    for path in "${changed[@]}"; do
        for prefix; do [[ $path != "$prefix"* ]] || return 0; done
    done
    return 1
}

fill_in() { # TEMPLATE: with the variables it names, which are exported, filled in
    # A fresh Debian has no envsubst before the packages are installed.
    [[ ! $dry ]] || command -v envsubst >/dev/null || return 0
    # shellcheck disable=SC2016,SC2094  # a pattern, not a variable; both only read
    envsubst "$(grep -o '\${[A-Z0-9_]*}' "$1" | sort -u)" <"$1"
}

# The steps ------------------------------------------------------------------------

install_packages() {
    local wanted=(nginx redis-server postgresql python3-venv gettext-base openssl curl)
    local missing=() package
    [[ ! $acme ]] || wanted+=(certbot)
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
            missing+=("$package")
    done
    step "Packages"
    ((${#missing[@]})) || return 0
    run apt-get update -q
    run env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        "${missing[@]}"
}

make_account() {
    step "The account rollcall, and its folders"
    id rollcall &>/dev/null ||
        run useradd --system --user-group --home-dir /var/lib/rollcall \
            --no-create-home --shell /usr/sbin/nologin rollcall
    # For commands; the services have the group by their unit.
    id -nG rollcall 2>/dev/null | grep -qw redis || run usermod -aG redis rollcall
    folder "$etc" 0755 root:root
    folder /var/lib/rollcall 0750 rollcall:www-data
    folder /var/backups/rollcall 0700 rollcall:rollcall
    folder /var/www/rollcall-acme 0755 root:root
}

folder() { # PATH MODE OWNER:GROUP
    [[ $(stat -c '0%a %U:%G' "$1" 2>/dev/null) == "$2 $3" ]] ||
        run install -d -m "$2" -o "${3%:*}" -g "${3#*:}" "$1"
}

make_secrets() {
    local kept=$etc/secrets secret
    local secrets=(SECRET_KEY OWNER_PASSWORD APP_PASSWORD PURGE_PASSWORD REDIS_PASSWORD
        REDIS_OPERATOR_PASSWORD)
    step "Secrets, made once"
    # shellcheck source=/dev/null
    [[ ! -r $kept ]] || . "$kept"
    for secret in "${secrets[@]}"; do
        [[ ${!secret-} ]] || printf -v "$secret" %s "$(random_hex)"
    done
    for secret in "${secrets[@]}"; do echo "$secret=${!secret}"; done | write "$kept" 0600
}

random_hex() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

install_release() {
    local digest
    step "The release"
    digest=$(pack | sha256sum | cut -c 1-12)
    release=$opt/releases/$digest
    if [[ ! -e $release/complete ]]; then
        run rm -rf "$release"
        run mkdir -p "$release"
        note "copy this checkout to $release"
        [[ $dry ]] || pack | tar -x -C "$release"
        run python3 -m venv "$release/.venv"
        run "$release/.venv/bin/pip" install --quiet --disable-pip-version-check \
            --require-hashes --only-binary=:all: \
            --requirement "$release/requirements/base.lock"
        run "$release/.venv/bin/python" -m compileall -q "$release" -x '/\.venv/'
        run touch "$release/complete"
    fi
    run install -m 0755 deploy/bin/rollcall /usr/local/bin/rollcall
}

pack() {
    tar -c --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX --exclude=__pycache__ --exclude=deploy/tls \
        --exclude=deploy/.env "${sources[@]}"
}

set_up_postgres() {
    local cluster home unit
    step "PostgreSQL"
    cluster=$(cluster_in_use || true)
    [[ $cluster ]] || { [[ $dry ]] && cluster=VERSION/main; } ||
        fail "PostgreSQL has no cluster on port 5432: pg_createcluster makes it."
    home=/etc/postgresql/$cluster unit=postgresql@${cluster/\//-}
    write "$home/conf.d/rollcall.conf" 0644 <deploy/postgres/rollcall.conf
    access "$home" | write "$home/pg_hba.conf" 0640 postgres:postgres
    run systemctl start "$unit"
    ! lacks_checksums || add_checksums "$cluster" "$unit"
    ! has_changed "$home/conf.d" || run systemctl restart "$unit"
    ! has_changed "$home/pg_hba.conf" || run systemctl reload "$unit"
    database_exists ||
        run as_postgres createdb --template=template0 --encoding=UTF8 \
            --locale=C.UTF-8 rollcall
    run as_postgres psql --quiet --set ON_ERROR_STOP=1 --dbname rollcall \
        --file "$release/deploy/postgres/roles.sql"
    export OWNER_PASSWORD APP_PASSWORD PURGE_PASSWORD
    run as_postgres "$release/deploy/postgres/passwords.sh"
}

# VERSION/NAME of the one that psql asks. After an upgrade of Debian there may be a newer and
# empty one beside it, on another port.
cluster_in_use() { pg_lsclusters -h 2>/dev/null | awk '$3 == 5432 { print $1 "/" $2 }'; }

access() { # Our lines come first: of several that fit, PostgreSQL takes the first.
    echo "# Rollcall: by password, over the socket."
    echo "local rollcall rollcall,rollcall_owner,rollcall_purge scram-sha-256"
    echo "# Rollcall: the rest is as it was."
    sed '/^# Rollcall: by/,/^# Rollcall: the rest/d' "$1/pg_hba.conf" 2>/dev/null || true
}

as_postgres() { (cd / && exec runuser -u postgres -- "$@"); }
database_exists() { [[ $(ask_postgres "SELECT 1 FROM pg_database WHERE datname = 'rollcall'") ]]; }
lacks_checksums() { [[ $(ask_postgres "SHOW data_checksums") == off ]]; }
ask_postgres() { as_postgres psql -AtX --command "$1" 2>/dev/null || true; }

add_checksums() { # CLUSTER UNIT
    local failed=0
    # The cluster itself: postgresql.service returns before its clusters have stopped.
    run systemctl stop "$2"
    run as_postgres "/usr/lib/postgresql/${1%/*}/bin/pg_checksums" --enable \
        --pgdata "/var/lib/postgresql/$1" || failed=$?
    run systemctl start "$2"
    return $failed
}

set_up_redis() {
    local conf=/etc/redis/redis-rollcall.conf
    step "Redis, one of its own"
    export REDIS_PASSWORD REDIS_OPERATOR_PASSWORD
    fill_in deploy/redis/rollcall.conf.template | write "$conf" 0640 redis:redis
    # Debian's own listens on TCP, without a password.
    run systemctl disable --quiet --now redis-server.service
    run systemctl enable --quiet --now redis-server@rollcall
    ! has_changed "$conf" || run systemctl restart redis-server@rollcall
}

write_environment() {
    local setting
    step "Settings"
    for setting in name processes acme certificate key email sockets pages; do
        echo "$setting=${!setting}"
    done | write "$etc/install.conf" 0600
    write "$etc/owner.env" 0600 < <(database_url rollcall_owner "$OWNER_PASSWORD")
    write "$etc/purge.env" 0600 < <(database_url rollcall_purge "$PURGE_PASSWORD")
    {
        echo "PUBLIC_URL=https://$name"
        echo "TRUST_PROXY=true"
        echo "VAR_DIR=/var/lib/rollcall"
        echo "SECRET_KEY=$SECRET_KEY"
        database_url rollcall "$APP_PASSWORD"
        echo "REDIS_URL=unix://rollcall:$REDIS_PASSWORD@/run/redis-rollcall/redis.sock"
        echo "EMAIL_URL=$email"
        echo "DEFAULT_FROM_EMAIL=rollcall@$name"
        echo "# Below this line are your own settings; install.sh leaves them alone."
        sed '1,/^# Below this line/d' "$etc/rollcall.env" 2>/dev/null || true
    } | write "$etc/rollcall.env" 0640 root:rollcall
}

database_url() { # ROLE PASSWORD
    echo "DATABASE_URL=postgres://$1:$2@/rollcall?host=/var/run/postgresql"
}

write_units() {
    local unit service
    step "Services"
    for unit in deploy/systemd/rollcall*; do
        write "$systemd/${unit##*/}" 0644 <"$unit"
    done
    for service in deploy/systemd/rollcall*.service; do
        write "$systemd/${service##*/}.d/hardening.conf" 0644 <deploy/systemd/hardening.conf
    done
    write "$systemd/nginx.service.d/rollcall.conf" 0644 <deploy/systemd/nginx.conf
    ! has_changed "$systemd" || run systemctl daemon-reload
    run systemctl enable --quiet rollcall.target rollcall-backup.timer rollcall-purge.timer
    run systemctl start rollcall-backup.timer rollcall-purge.timer
}

start_processes() {
    local nth act=start former
    former=$(readlink "$opt/current" || true)
    step "Tables and static files, then the processes, one after the other"
    [[ $former == "$release" ]] || make_current "$release"
    if has_changed "$opt/current" "$systemd/rollcall@" "$etc/rollcall.env"; then
        act=restart
    fi
    if ! run systemctl "$act" rollcall-prepare; then
        # A process that falls over now is to come back with what still serves.
        [[ ! $former || $former == "$release" ]] || make_current "$former"
        fail "The step before the processes has failed: journalctl -u rollcall-prepare"
    fi
    for ((nth = 1; nth <= processes; nth++)); do
        run systemctl enable --quiet "rollcall@$nth"
        run systemctl "$act" "rollcall@$nth" # it returns when the process is ready
    done
    while systemctl is-enabled --quiet "rollcall@$nth" 2>/dev/null; do
        run systemctl disable --quiet --now "rollcall@$nth"
        nth=$((nth + 1))
    done
    run systemctl start rollcall.target
    remove_old_releases
}

make_current() { # RELEASE
    changed+=("$opt/current")
    run ln -sfn "$1" "$opt/current.new"
    run mv -T "$opt/current.new" "$opt/current"
}

remove_old_releases() { # but the last three
    local old
    # shellcheck disable=SC2012  # their names are digests
    for old in $(ls -dt "$opt"/releases/* 2>/dev/null | tail -n +4); do
        [[ $old == "$release" ]] || run rm -rf "$old"
    done
}

set_up_nginx() {
    local template path
    step "Nginx"
    export_nginx_values
    if [[ -f /etc/nginx/nginx.conf && ! -f /etc/nginx/nginx.conf.debian ]]; then
        run cp -p /etc/nginx/nginx.conf /etc/nginx/nginx.conf.debian
    fi
    for template in deploy/nginx/*.template; do
        path=/etc/nginx/$(basename "$template" .template)
        fill_in "$template" | write "$path" 0644
    done
    place_certificate
    run nginx -t -q
    run systemctl enable --quiet nginx
    if has_changed /etc/nginx "$etc/tls" "$systemd/nginx"; then
        run systemctl reload-or-restart nginx
    fi
}

export_nginx_values() {
    local nth
    DAPHNES=
    for ((nth = 1; nth <= processes; nth++)); do
        DAPHNES+="server unix:/run/rollcall/$nth.sock max_fails=0; "
    done
    export DAPHNES SOCKETS=/run/rollcall/ STATIC_ROOT=/var/lib/rollcall/static
    export SCHEME=https SERVER_NAME=$name PUBLIC_HOST=$name
    export HTTP_LISTEN=80 HTTPS_LISTEN=443 METRICS_LISTEN=127.0.0.1:9101 IF_INET6=
    [[ -e /proc/net/if_inet6 ]] || IF_INET6="# "
    export CERTIFICATE=$etc/tls/fullchain.pem CERTIFICATE_KEY=$etc/tls/privkey.pem
    export ACME_ROOT=/var/www/rollcall-acme
    export NGINX_USER=www-data NGINX_RUN=/run NGINX_WORKERS=auto
    export NGINX_ERROR_LOG=/var/log/nginx/error.log
    export NGINX_ACCESS_LOG=/var/log/nginx/rollcall.log
    export SOCKETS_PER_ADDRESS=$sockets HANDSHAKES_PER_ADDRESS=10 DOORS_PER_ADDRESS=2
    export PAGES_PER_ADDRESS=$pages PAGES_AT_ONCE=$((pages * 4))
    # A process lets in some 300 a second. Nobody stands in line longer than 10 s, for a page
    # gives up after 15 s (static/js/room/connection.js).
    export HANDSHAKES=$((processes * 200))
    export GATE_LINE=$((HANDSHAKES * 10))
}

place_certificate() { # Nginx starts with some certificate; Let's Encrypt's comes later.
    local live=/etc/letsencrypt/live/$name
    if [[ $certificate ]]; then
        use_certificate "$certificate" "$key"
    elif [[ $acme && -e $live/fullchain.pem ]]; then
        use_certificate "$live/fullchain.pem" "$live/privkey.pem"
    elif [[ ! -e $etc/tls/fullchain.pem ]]; then
        folder "$etc/tls" 0700 root:root
        run openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
            -days 365 -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
            -keyout "$etc/tls/privkey.pem" -out "$etc/tls/fullchain.pem"
    fi
}

use_certificate() { # CHAIN KEY
    [[ $(readlink "$etc/tls/fullchain.pem") != "$1" ]] || return 0
    changed+=("$etc/tls")
    folder "$etc/tls" 0700 root:root
    run ln -sfn "$1" "$etc/tls/fullchain.pem"
    run ln -sfn "$2" "$etc/tls/privkey.pem"
}

get_certificate() {
    [[ $acme && ! -e /etc/letsencrypt/live/$name/fullchain.pem ]] || return 0
    step "A certificate from Let's Encrypt"
    run certbot certonly --non-interactive --agree-tos --email "$acme" --domain "$name" \
        --webroot --webroot-path /var/www/rollcall-acme \
        --deploy-hook "systemctl reload nginx"
    [[ $dry ]] || place_certificate
    run systemctl reload nginx
}

look_at_it() {
    step "A look at it"
    run curl --silent --show-error --fail --insecure --resolve "$name:443:127.0.0.1" \
        --retry 20 --retry-delay 1 --retry-all-errors "https://$name/readyz"
}

main "$@"
