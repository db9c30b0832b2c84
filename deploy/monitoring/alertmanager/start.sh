#!/bin/sh
# Starts Alertmanager with a configuration made of the environment:  start.sh DIRECTORY alertmanager --storage.path=…
#
# Alertmanager reads no environment, and who is told is not for a file in a repository. DIRECTORY (a tmpfs will do) gets
# alertmanager.yml; passwords stay in their files, or go into private ones beside it, never into that or an argument.
#
#   SMTP_HOST SMTP_PORT (587)  SMTP_FROM  SMTP_TO  SMTP_USER  SMTP_PASSWORD_FILE or SMTP_PASSWORD
#   TELEGRAM_CHAT_ID  TELEGRAM_BOT_TOKEN_FILE or TELEGRAM_BOT_TOKEN
#
# Without SMTP_HOST there is no e-mail, without TELEGRAM_CHAT_ID no Telegram; without both, alerts are in the web page only.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
directory=$1
shift
config=$directory/alertmanager.yml

fail() {
    echo "alertmanager: $1" >&2
    exit 2
}

# A text as YAML takes it, between single quotes.
quoted() {
    case $1 in *'
'*) fail "a setting has more than one line" ;; esac
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

# Prints the path of the secret NAME: the file that NAME_FILE names, else one that is made of NAME.
secret() {
    eval "file=\${$1_FILE:-} text=\${$1:-}"
    if [ -n "$file" ]; then
        [ -r "$file" ] || fail "$1_FILE: $file cannot be read"
        [ -s "$file" ] || fail "$1_FILE: $file is empty"
        echo "$file"
    elif [ -n "$text" ]; then
        printf '%s' "$text" >"$directory/$1"
        echo "$directory/$1"
    else
        fail "set $1_FILE (a file with the secret) or $1"
    fi
}

email() {
    if [ -z "${SMTP_FROM:-}" ] || [ -z "${SMTP_TO:-}" ]; then fail "SMTP_HOST needs SMTP_FROM and SMTP_TO"; fi
    to=$(quoted "$SMTP_TO")
    from=$(quoted "$SMTP_FROM")
    host=$(quoted "$SMTP_HOST:${SMTP_PORT:-587}")
    cat <<EOF
    email_configs:
      - to: $to
        from: $from
        smarthost: $host
        send_resolved: true
        headers: { Subject: '{{ template "tickbay.subject" . }}' }
        html: ''
        text: '{{ template "tickbay.text" . }}'
EOF
    if [ -n "${SMTP_USER:-}" ]; then
        user=$(quoted "$SMTP_USER")
        password=$(secret SMTP_PASSWORD)
        password=$(quoted "$password")
        printf '        auth_username: %s\n        auth_password_file: %s\n' "$user" "$password"
    fi
}

telegram() {
    case ${TELEGRAM_CHAT_ID#-} in *[!0-9]* | '') fail "TELEGRAM_CHAT_ID is not a number" ;; esac
    token=$(secret TELEGRAM_BOT_TOKEN)
    token=$(quoted "$token")
    cat <<EOF
    telegram_configs:
      - chat_id: $TELEGRAM_CHAT_ID
        bot_token_file: $token
        parse_mode: ''
        send_resolved: true
        message: '{{ template "tickbay.text" . }}'
EOF
}

{
    echo "# Made by start.sh at every start: change the environment instead."
    echo "templates: [$(quoted "$here/tickbay.tmpl")]"
    cat "$here/routes.yml"
    if [ -n "${SMTP_HOST:-}" ]; then email; fi
    if [ -n "${TELEGRAM_CHAT_ID:-}" ]; then telegram; fi
} >"$config"
if [ -z "${SMTP_HOST:-}${TELEGRAM_CHAT_ID:-}" ]; then
    echo "alertmanager: nobody is notified of alerts: set SMTP_HOST or TELEGRAM_CHAT_ID" >&2
fi
exec "$@" "--config.file=$config"
