#!/usr/bin/env bash
# Builds the documentation of every module as DocC, .build/docs/MODULE.doccarchive, from what `make build` has compiled. Links that
# lead nowhere and comments that name what is not there are errors. Parameters whose names say it all may be left out of a comment.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly built=.build/release docs=.build/docs
target=$(swift -print-target-info | awk -F'"' '/"unversionedTriple"/ { print $4; exit }')

# Of the C modules that the Swift ones are built on.
maps=()
for map in "$built"/*.build/module.modulemap .build/checkouts/*/Sources/*/include/module.modulemap; do
  maps+=(-Xcc "-fmodule-map-file=$map")
done

rm -rf "$docs"
mkdir -p "$docs"
sound=true
for folder in Sources/*/; do
  module=$(basename "$folder")
  # Not the C targets, nor the command, whose documentation is its --help.
  [[ -e $built/Modules/$module.swiftmodule && $module != Command ]] || continue
  work=$docs/$module
  mkdir "$work"
  swift-symbolgraph-extract -module-name "$module" -target "$target" -I "$built/Modules" "${maps[@]}" \
    -minimum-access-level public -skip-inherited-docs -output-dir "$work"
  catalog=()
  [[ ! -d Sources/$module/$module.docc ]] || catalog=("Sources/$module/$module.docc")
  docc convert ${catalog[@]+"${catalog[@]}"} --additional-symbol-graph-dir "$work" --fallback-display-name "$module" \
    --fallback-bundle-identifier "ziplora.$module" --output-path "$docs/$module.doccarchive" \
    --ide-console-output >"$work/log" 2>&1 || sound=false
  ! grep -E ': (warning|error): ' "$work/log" | grep -v 'is missing documentation' || sound=false
  rm -rf "$work"
done
if ! $sound; then
  echo "docs: error: the documentation is not sound, see above" >&2
  exit 1
fi
echo "docs: $docs/*.doccarchive; docc preview shows one of them"
