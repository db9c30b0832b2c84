#!/bin/sh
# Refuses passwords that are missing or that everybody knows:  check.sh FILE…
#
# start.sh runs it over the files of this machine, the service `check` inside a container, where it also sees whether the
# others will be able to read them. One line on stderr and exit status 1 at the first that is wrong.
set -eu

refuse() {
    echo "tickbay does not start: $1" >&2
    exit 1
}

for file in "$@"; do
    name=${file##*/}
    [ -f "$file" ] || refuse "$file is not there: ./start.sh makes it"
    [ -r "$file" ] || refuse "$file cannot be read: give it the group SECRETS_GID and mode 640"
    [ -z "$(find "$file" -perm -004)" ] || refuse "$name can be read by everyone: chmod o-rwx it"
    password=$(cat "$file")
    case $(printf '%s' "$password" | tr '[:upper:]' '[:lower:]' | tr -d '[:space:]') in
        '') refuse "$name is empty: write a password into it, or delete the file and run ./start.sh" ;;
        postgres | quest | admin | changeme | change_me | password)
            refuse "$name is '$password', which everybody knows: write another into it, or delete the file and run ./start.sh"
            ;;
    esac
done

case ,${COMPOSE_PROFILES:-}, in *,questdb,* | *,\*,*) server=true ;; *) server=false ;; esac
case ${QUESTDB_ENABLED:-false} in true | 1 | yes) wanted=true ;; *) wanted=false ;; esac
if [ "$server" != "$wanted" ]; then
    refuse "COMPOSE_PROFILES '${COMPOSE_PROFILES:-}' and QUESTDB_ENABLED '${QUESTDB_ENABLED:-}' do not agree on whether there is a QuestDB"
fi
