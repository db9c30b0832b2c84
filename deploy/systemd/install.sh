#!/bin/sh
# tickbay as a service of this machine. Run from a checkout, as root:
#     deploy/systemd/install.sh              install, or upgrade what is there; starts it once the password is there
#     deploy/systemd/install.sh --dry-run    only say what would be done
#     deploy/systemd/install.sh --uninstall  stop it and remove it; settings, secrets, data and backups stay
#     deploy/systemd/install.sh --environment=DIR    only make the environment, in DIR; no need to be root
# --keep-environment: do not touch /opt/tickbay, it was made otherwise.
set -eu
umask 022 # or the user tickbay could not read what a careful root installs

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(CDPATH='' cd -- "$here/../.." && pwd)
prefix=/opt/tickbay
settings=/etc/tickbay
password=$settings/db_password
units=/etc/systemd/system
names="tickbay.service tickbay-certificate.service tickbay-certificate.timer tickbay-backup.service tickbay-backup.timer
tickbay-restore.service"
enabled="tickbay.service tickbay-certificate.timer tickbay-backup.timer"

dry=no
action=install
environment=made

die() {
    echo "install.sh: $1" >&2
    exit 2
}

# Do it, or only say so.
run() {
    if [ "$dry" = yes ]; then
        echo "would run: $*"
    else
        "$@"
    fi
}

for argument in "$@"; do
    case $argument in
        --dry-run) dry=yes ;;
        --uninstall) action=uninstall ;;
        --keep-environment) environment=keep ;;
        --environment=?*)
            action=environment
            prefix=${argument#*=}
            ;;
        -h | --help)
            sed -n '2,7s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *) die "unknown option $argument: --dry-run, --uninstall, --environment=DIR or --keep-environment" ;;
    esac
done

if [ "$action" != environment ]; then
    [ "$dry" = yes ] || [ "$(id -u)" = 0 ] || die "run it as root, or with --dry-run to see what it would do"
    command -v systemctl >/dev/null || die "this machine has no systemd: use deploy/docker"
fi

# Whatever is downloaded is a wheel with a hash in requirements/, for what builds as for what runs. The sources are built
# from a copy, so that root leaves nothing in the checkout.
make_environment() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is older than 3.11: install a newer one"
    locked="--quiet --disable-pip-version-check --require-hashes --only-binary :all:"
    offline="--quiet --disable-pip-version-check --no-deps --no-index"
    work=/tmp/tickbay-build
    if [ "$dry" = no ]; then
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
    fi
    run python3 -m venv "$prefix"
    run python3 -m venv "$work/build"
    # shellcheck disable=SC2086 # one word for each option
    {
        run "$prefix/bin/pip" install $locked -r "$source/requirements/run.lock"
        run "$work/build/bin/pip" install $locked -r "$source/requirements/build.lock"
        run mkdir "$work/source"
        (cd "$source" && run cp -R engine native schema pyproject.toml LICENSE README.md "$work/source")
        run find "$work/source" -name '*.so' -delete
        run "$work/build/bin/pip" wheel $offline --no-build-isolation --wheel-dir "$work" "$work/source"
        # Also where the version is the same as before.
        run "$prefix/bin/pip" install $offline --force-reinstall "$work"/*.whl
    }
}

install_files() {
    run install -D -m 644 "$here/tickbay.sysusers" /etc/sysusers.d/tickbay.conf
    run install -D -m 644 "$here/tickbay.tmpfiles" /etc/tmpfiles.d/tickbay.conf
    run systemd-sysusers /etc/sysusers.d/tickbay.conf
    run systemd-tmpfiles --create /etc/tmpfiles.d/tickbay.conf
    for name in $names; do
        run install -m 644 "$here/$name" "$units/$name"
    done
    # What the operator has changed is never overwritten.
    [ -e "$settings/tickbay.toml" ] || run install -m 644 "$source/tickbay.toml.example" "$settings/tickbay.toml"
}

start() {
    run systemctl daemon-reload
    # shellcheck disable=SC2086 # one word for each unit
    run systemctl enable --quiet $enabled
    if [ -s "$password" ]; then
        run systemctl restart tickbay.service
        run systemctl start tickbay-certificate.timer tickbay-backup.timer
        echo "tickbay runs: journalctl -u tickbay -o cat"
    else
        echo "installed. Now set [timescale] in $settings/tickbay.toml, then:"
        echo "    install -m 600 /dev/stdin $password      # type the password, then Ctrl-D"
        echo "    systemctl start $enabled"
    fi
}

remove() {
    # shellcheck disable=SC2086 # one word for each unit
    run systemctl disable --quiet --now $enabled || echo "install.sh: some units were not there" >&2
    for name in $names; do
        run rm -f "$units/$name"
    done
    run rm -f /etc/sysusers.d/tickbay.conf /etc/tmpfiles.d/tickbay.conf
    [ "$environment" = keep ] || run rm -rf "$prefix"
    run systemctl daemon-reload
    echo "removed. What remains, until you remove it: $settings, /var/lib/tickbay, /var/backups/tickbay, the user tickbay"
}

case $action in
    uninstall) remove ;;
    environment) make_environment ;;
    install)
        [ "$environment" = keep ] || make_environment
        install_files
        start
        ;;
esac
