#!/usr/bin/env bash
# Installs the system libraries that Blender's module and the software renderer load, where it may.
#
# As root on Debian or Ubuntu it installs what is missing; elsewhere it prints the command to run.
set -euo pipefail

PACKAGES=(
  # Blender's module (bpy); 4.2 also wants the last two.
  libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libxxf86vm1 libgomp1
  # OpenGL without a screen, for the renderer of synthetic faces.
  libegl1 libgl1-mesa-dri libglx-mesa0
)

if ! command -v dpkg-query >/dev/null; then
  echo "Not a Debian or Ubuntu system: please install the libraries that these packages hold:"
  echo "  ${PACKAGES[*]}"
  exit 0
fi

# The virtual environment needs ensurepip, which Debian's own Python keeps in a package apart.
if ! "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null; then
  PACKAGES+=(python3-venv)
fi

missing=()
for package in "${PACKAGES[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${missing[@]}"
else
  echo "These system libraries are missing. Please run this, then the same make command again:"
  echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
  exit 1
fi
