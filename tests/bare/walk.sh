#!/usr/bin/env bash
# What a newcomer does first, on a machine that has Python, make and git: a fresh clone under a path with a space, and
# the documents' commands in it. Prints each step and its seconds; the first failure ends it and shows its output's end.
# Run in a bare Debian by machine.sh.
set -euo pipefail

SOURCE=${1:-/mnt/source.git}
CLONE="$HOME/fresh clone"
LOG=$HOME/step.log
PATIENT=300 # seconds until a server that has to be installed first answers

step() {
    local name=$1 begin=$SECONDS code
    shift
    set +e
    (set -e; "$@") >"$LOG" 2>&1
    code=$?
    set -e
    if [ "$code" -ne 0 ]; then
        tail -n 80 "$LOG"
        printf '%s: %s ends with %s after %s s; the lines above are the end of its output\n' \
            "$MACHINE" "$name" "$code" "$((SECONDS - begin))" >&2
        exit 1
    fi
    printf '%s: %4d s  %s\n' "$MACHINE" "$((SECONDS - begin))" "$name"
    # What the unit tests left out and why, and how many there were.
    awk '/^=+ left out =+$/ { shown = 1; next } /^=/ { shown = 0 } shown || /^=+ .* passed/' "$LOG"
}

second_pipeline() {
    make pipeline
    grep -q 'champion is kept' "$LOG" || { echo "the second pipeline did not keep the champion"; return 1; }
}

ask_served_model() {
    local port server code=0
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    setsid make serve PORT="$port" &
    server=$!
    python3 - "$port" "$PATIENT" "$server" <<'ASK' || code=$?
import json, os, sys, time, urllib.error, urllib.request

port, patient, server = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
row = {"age": 63, "sex": 1, "cp": 1, "trestbps": 145, "chol": 233, "fbs": 1, "restecg": 2, "thalach": 150,
       "exang": 0, "oldpeak": 2.3, "slope": 3, "ca": 0, "thal": 6}
request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps(row).encode(),
                                 {"Content-Type": "application/json"})
end = time.monotonic() + patient
while True:
    try:
        answer = json.load(urllib.request.urlopen(request, timeout=10))
        break
    except urllib.error.HTTPError as error:
        sys.exit(f"{error}: {error.read().decode()}")
    except OSError as error:
        state = open(f"/proc/{server}/stat").read().rsplit(")", 1)[1].split()[0] if os.path.exists(f"/proc/{server}") else "Z"
        if state == "Z" or time.monotonic() > end:
            sys.exit(f"nothing answers on port {port}: {error}")
        time.sleep(0.5)
print(answer)
assert 0 <= answer["predictions"][0]["probability"] <= 1, answer
ASK
    kill -- "-$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    return "$code"
}

MACHINE="Debian $(cat /etc/debian_version), $(python3 --version)"
step "fresh clone" git clone --quiet "file://$SOURCE" "$CLONE"
cd "$CLONE"
step "make pipeline" make pipeline
step "make pipeline once more keeps the champion" second_pipeline
step "make test" make test
step "make serve answers" ask_served_model
step "make run" make run
step "export-model.py" python3 scripts/export-model.py --model heart-disease
step "rossmann: download-data.py" python3 scripts/download-data.py --model rossmann-ensemble
step "rossmann: train_ensemble.py --sample" python3 src/models/train_ensemble.py --sample
step "alzheimer: download-data.py" python3 scripts/download-data.py --model alzheimer_classifier
step "alzheimer: train.py" python3 src/models/train.py --model alzheimer_classifier --semver 1.2.0
step "alzheimer: validate_model.py" python3 src/models/validate_model.py --model-name alzheimer_classifier
printf '%s: the walk took %s s\n' "$MACHINE" "$SECONDS"
