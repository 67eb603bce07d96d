#!/bin/sh
# Trains two small LoRAs with the ziplora command, zips them, and has diffusers load the result in each dialect: its noise
# prediction must be ours within 1e-4.
#
#   Scripts/check_zip.sh [--keep]
#
# --keep makes the files the goldens of Tests/Goldens/merged. ZIPLORA names the command (.build/release/ziplora), VENV the
# Python environment with the packages of Scripts/goldens/requirements.txt (.venv-goldens).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
ziplora=${ZIPLORA:-$root/.build/release/ziplora}
python=${VENV:-$root/.venv-goldens}/bin/python
base=$root/Tests/Goldens/pipelines/sdxl
subject=$root/Tests/ImagesTests/Fixtures/rgb-8.png
style=$root/Tests/ImagesTests/Fixtures/lossy.webp
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Different ranks, scales and layers, so that every part of the format is used.
"$ziplora" train --base "$base" --images "$subject" --prompt "a sbu dog" --rank 2 --alpha 3 --steps 20 \
  --learning-rate 1e-2 --targets attention+conv --seed 1 --output "$work/subject.safetensors"
"$ziplora" train --base "$base" --images "$style" --prompt "a house in szn style" --rank 1 --steps 20 \
  --learning-rate 1e-2 --seed 2 --output "$work/style.safetensors"
for dialect in kohya diffusers; do
  "$ziplora" zip --base "$base" --subject "$work/subject.safetensors" --style "$work/style.safetensors" \
    --subject-images "$subject" --style-images "$style" --subject-prompt "a sbu dog" --style-prompt "a house in szn style" \
    --steps 20 --learning-rate 0.02 --dialect $dialect --save-dtype float16 --output "$work/$dialect.safetensors"
  "$ziplora" predict --base "$base" --lora "$work/$dialect.safetensors" --prompt "a sbu dog in szn style" --seed 5 \
    --output "$work/$dialect.expected.safetensors"
  echo "diffusers with the dialect $dialect:"
  "$python" "$root/Scripts/check_merged.py" "$base" "$work/$dialect.safetensors" "$work/$dialect.expected.safetensors"
done

if [ "${1:-}" = --keep ]; then
  mkdir -p "$root/Tests/Goldens/merged"
  cp "$work/kohya.safetensors" "$work/diffusers.safetensors" "$root/Tests/Goldens/merged/"
  cp "$work/kohya.expected.safetensors" "$root/Tests/Goldens/merged/expected.safetensors"
  "$python" "$root/Scripts/goldens/merged.py"
  "$python" "$root/Scripts/goldens/manifest.py"
fi
