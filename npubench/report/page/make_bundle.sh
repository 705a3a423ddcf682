#!/bin/sh
# Makes plot.bundle.js from the npm packages of Observable Plot and D3, at fixed versions.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent @observablehq/plot@0.6.17 d3@7.9.0 esbuild@0.25
echo 'export { plot, dot, line, barX, ruleX, text } from "@observablehq/plot";' >entry.js
npx esbuild entry.js --bundle --minify --format=iife --global-name=Plot --legal-comments=none \
  --outfile="$here/plot.bundle.js"
