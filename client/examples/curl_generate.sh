#!/usr/bin/env bash
# Text to image with curl: ./curl_generate.sh [HOST:PORT] writes red-circle.png.
# JSON cannot carry raw bytes, so the image is asked for as base64.
set -euo pipefail
server="${1:-localhost:8000}"

response=$(
  curl --silent --show-error --fail-with-body "http://$server/v2/models/image_generation/generate" \
    --data '{"prompt": "a red circle", "size": "128x128", "seed": 7, "response_format": "b64_json"}'
) || { echo "$response" >&2; exit 1; }

python3 -c '
import base64, json, sys

response = json.load(sys.stdin)
with open("red-circle.png", "wb") as file:
    file.write(base64.b64decode(response["generated_image"]))
print("red-circle.png  seed", response["used_seed"])
' <<<"$response"
