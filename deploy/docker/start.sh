#!/bin/sh
# One command from a clean host:  cp .env.example .env && ./start.sh
#
# Makes every password that is missing (48 random digits, in ./secrets, for you and the containers only), refuses those that
# everybody knows, builds the image and starts everything; returns when all of it is healthy. Running it again is harmless.
# Arguments go to `docker compose up`.
set -eu
umask 077
cd "$(dirname "$0")"

REQUIRED='DB_PASSWORD DB_WRITER_PASSWORD DB_READER_PASSWORD QUESTDB_PASSWORD QUESTDB_READER_PASSWORD GRAFANA_PASSWORD TICKBAY_TOP_TOKEN'
OPTIONAL='DERIBIT_API_KEY DERIBIT_API_SECRET SMTP_PASSWORD TELEGRAM_BOT_TOKEN B2_APPLICATION_KEY'

refuse() {
    echo "tickbay does not start: $1" >&2
    exit 1
}

compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

# Prints what NAME is in the environment, else in .env, without quotes around it.
setting() {
    eval "value=\${$1:-}"
    if [ -z "$value" ]; then value=$(sed -n "s/^$1=//p" .env | tail -n 1 | sed "s/^'\(.*\)'\$/\1/; s/^\"\(.*\)\"\$/\1/"); fi
    printf '%s' "$value"
}

file_of() {
    named=$(setting "$1_FILE")
    printf '%s' "${named:-secrets/$(printf '%s' "$1" | tr '[:upper:]' '[:lower:]')}"
}

# Make the file of secret NAME where there is none: of the variable, if that is set, else of TEXT.
make_secret() {
    file=$(file_of "$1")
    given=$(setting "$1")
    if [ ! -e "$file" ]; then
        printf '%s' "${given:-$2}" >"$file" || refuse "$file cannot be written"
        chmod 640 "$file"
        echo "made $file$(if [ -n "$given" ]; then echo " of $1, which is no longer needed in .env"; fi)"
    elif [ -n "$given" ] && [ "$given" != "$(cat "$file")" ]; then
        refuse "$1 and $file are not the same: remove $1, or see README.md on how to change a password"
    fi
    # The group that may read it, as a number; the first file's is that of all.
    group=$(stat -c %g "$file")
    if [ -z "$gid" ]; then gid=$group; fi
    [ "$group" = "$gid" ] || refuse "$file has group $group instead of $gid (SECRETS_GID): chgrp $gid $file"
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

[ -f .env ] || refuse "there is no .env here: cp .env.example .env, and look through it"
docker info >/dev/null 2>&1 || refuse "Docker does not answer: is it installed, does it run, may you use it (sudo, or the group docker)?"
compose version >/dev/null 2>&1 || refuse "there is no Docker Compose: install the package docker-compose-plugin"
gid=$(setting SECRETS_GID)
mkdir -p secrets
if [ -n "$gid" ]; then chgrp "$gid" secrets 2>/dev/null || true; fi
for name in $REQUIRED; do
    given=$(setting "$name")
    case $(printf '%s' "$given" | tr '[:upper:]' '[:lower:]') in
        postgres | quest | admin | changeme | change_me | password)
            refuse "$name is '$given', which everybody knows: set another, or none to have one made"
            ;;
    esac
    make_secret "$name" "$(random)"
done
for name in $OPTIONAL; do make_secret "$name" ''; done
if [ -z "$(setting SECRETS_GID)" ]; then
    sed '/^SECRETS_GID=/d' .env >.env.new
    echo "SECRETS_GID=$gid" >>.env.new
    cat .env.new >.env
    rm .env.new
fi

COMPOSE_PROFILES=$(setting COMPOSE_PROFILES)
QUESTDB_ENABLED=$(setting QUESTDB_ENABLED)
export COMPOSE_PROFILES QUESTDB_ENABLED
# shellcheck disable=SC2046 # file names of ours, none with a blank
sh check.sh $(for name in $REQUIRED; do file_of "$name" && echo; done)
compose up --build --detach --wait "$@"
[ $# = 0 ] || exit 0
address=$(setting BIND_ADDRESS) port=$(setting WEB_PORT)
echo "all is healthy: http://${address:-127.0.0.1}:${port:-8080}, or docker compose exec tickbay tickbay status"
