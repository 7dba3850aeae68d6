# What the machine is: lines of key=value. Runs as whoever logged in.
printf 'uid=%s\n' "$(id -u)"
if [ "$(id -u)" = 0 ]; then
    echo privileges=root
elif sudo -n true >/dev/null 2>&1; then
    echo privileges=sudo
elif command -v sudo >/dev/null 2>&1; then
    echo privileges=password
else
    echo privileges=none
fi
printf 'system=%s\n' "$(uname -s)"
printf 'machine=%s\n' "$(uname -m)"
printf 'bits=%s\n' "$(getconf LONG_BIT 2>/dev/null)"
printf 'glibc=%s\n' "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>/dev/null | head -n 1)"
folder=$prefix
while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
printf 'free_kib=%s\n' "$(df -Pk "$folder" 2>/dev/null | awk 'END { print $4 }')"
awk '/^MemTotal:/ { print "memory_kib=" $2 }' /proc/meminfo 2>/dev/null
missing=
for tool in systemctl sha256sum readlink mv cp ln rm mkdir chmod sync wc sed tr tail cat kill sleep; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
# The link is switched by a rename over it, which mv does only with -T.
folder=$(mktemp -d) && ln -s a "$folder/new" && mkdir "$folder/a" && ln -s a "$folder/old"
mv -T "$folder/new" "$folder/old" 2>/dev/null && [ ! -e "$folder/a/new" ] || missing="$missing mv-T"
rm -rf "$folder"
printf 'missing=%s\n' "${missing# }"
