#!/bin/sh
# A scaler for a cloud's HTTP API: reads the question on stdin, writes the answer to stdout (docs/scaler.md). Needs curl and jq.
#
# What is marked <...> is yours to fill in; paths and keys are those of a made-up cloud, close to what most of them have:
#   GET    /servers?label=L   {"servers": [{"id": 1, "created": "...", "private_ip": "10.0.0.5" or null}]}
#   POST   /servers           makes one, with labels
#   DELETE /servers/ID        gives it back
# CLOUD_TOKEN comes from `secrets_file`: it is in no argument, so `ps` does not show it.
set -eu

API=${CLOUD_API:-https://api.cloud.example/v1}   # <your cloud's API>
LABEL=${CLOUD_LABEL:-madang-work}                # <machines with this label are the scaler's, and only those>
PORT=${SERVER_PORT:-3000}                        # <where your app listens on each>
IMAGE=${CLOUD_IMAGE:-my-app-v1}                  # <an image that starts your app when it boots>
SIZE=${CLOUD_SIZE:-small}                        # <what to buy>

# The token goes by a file descriptor, not by an argument. 10 s at most for each call; a failure ends this script, and then
# nothing changes.
call() {
    method=$1 path=$2
    shift 2
    printf 'header = "Authorization: Bearer %s"\n' "$CLOUD_TOKEN" |
        curl --config - --fail --silent --show-error --max-time 10 --request "$method" "$@" "$API$path"
}

question=$(cat)
wanted=$(printf %s "$question" | jq .wanted)

# The oldest first: those stay. A machine without an address is still being made; it counts, and is named later.
listed=$(call GET "/servers?label=$LABEL")
machines=$(printf %s "$listed" | jq '.servers | sort_by(.created, .id)')
have=$(printf %s "$machines" | jq length)

while [ "$have" -lt "$wanted" ]; do
    body=$(jq -n --arg of "$LABEL" --arg image "$IMAGE" --arg size "$SIZE" '{label: $of, image: $image, size: $size}')
    call POST /servers --header 'Content-Type: application/json' --data "$body" >/dev/null
    have=$((have + 1))
done

# Beyond what is wanted: left out of the answer, so they drain; given back once the pool has them no more.
printf %s "$machines" | jq -r --argjson wanted "$wanted" --argjson question "$question" --arg port "$PORT" '
    [$question.servers[].address] as $members
    | .[$wanted:][] | select(.private_ip == null or ("\(.private_ip):\($port)" | IN($members[]) | not)) | .id' |
    while read -r id; do
        call DELETE "/servers/$id" >/dev/null
    done

printf %s "$machines" | jq --argjson wanted "$wanted" --arg port "$PORT" '
    {servers: [.[:$wanted][] | select(.private_ip != null) | "\(.private_ip):\($port)"],
     note: ([.[:$wanted][] | select(.private_ip == null)] | length | if . == 0 then null else "\(.) machines are being made" end)}'
