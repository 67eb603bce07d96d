#!/bin/sh
# Makes the goldens under Tests/Goldens anew. Usage: Scripts/goldens/run.sh [models|schedules|tokenizer|pipelines|adapters|merged|original|consumers|encoders ...]
# Three are run by hand: safetensors_golden.py, as the reference library orders metadata at random and its bytes are kept raw,
# images_golden.py, and tokenization.py, which needs a file that it names.
# PYTHON names the interpreter that creates the environment .venv-goldens (3.11 or later); VENV names another environment.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${VENV:-$root/.venv-goldens}
if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
fi
[ $# -gt 0 ] || set -- models schedules tokenizer pipelines adapters merged original consumers encoders
for part in "$@"; do
  "$venv/bin/python" "$here/$part.py"
done
"$venv/bin/python" "$here/manifest.py"
