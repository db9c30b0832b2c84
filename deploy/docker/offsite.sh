#!/bin/sh
# Makes a bucket of Backblaze B2 the same as a folder:  offsite.sh FOLDER
#
# rclone compares by checksum and sends what differs; what it replaces or deletes the bucket keeps as older versions.
set -eu
folder=$1
for name in B2_BUCKET B2_KEY_ID; do
    eval "text=\${$name:-}"
    if [ -z "$text" ]; then
        echo "offsite: $name is not set in .env" >&2
        exit 2
    fi
done
if [ ! -s "$B2_APPLICATION_KEY_FILE" ]; then
    echo "offsite: the file b2_application_key is empty: write the application key into it" >&2
    exit 2
fi
# Of an empty folder it would make an empty bucket.
if [ -z "$(find "$folder" -type f | head -n 1)" ]; then
    echo "offsite: there is no backup in $folder: nothing sent" >&2
    exit 1
fi
RCLONE_CONFIG_B2_TYPE=b2
RCLONE_CONFIG_B2_ACCOUNT=$B2_KEY_ID
RCLONE_CONFIG_B2_KEY=$(cat "$B2_APPLICATION_KEY_FILE")
export RCLONE_CONFIG_B2_TYPE RCLONE_CONFIG_B2_ACCOUNT RCLONE_CONFIG_B2_KEY
exec rclone --config="" --log-level INFO sync --checksum "$folder" "b2:$B2_BUCKET/tickbay"
