#!/bin/sh
# One run of the monitor, with what lies on the volume for each family: the statistics of every version that was deployed,
# and labels.
set -eu

# A mounted Secret is readable by the group, and a signing key that others can read is refused.
if [ -f "$KEYS/signing-key.pem" ]; then
    install -m 600 "$KEYS/signing-key.pem" "$HOME/signing-key.pem"
    export PROMOTION_SIGNING_KEY="$HOME/signing-key.pem"
fi

set -- --all --deployed --once --export "$EXPORTS/{instance}/*" --labels "$LABELS/{instance}/labels.*"
# 3: something is critical, and people were told: the monitor did its work, and a job that failed would say it did not.
python scripts/monitor-model.py "$@" || { status=$?; [ "$status" -eq 3 ] || exit "$status"; }
