#!/bin/sh
# A machine of its own for a command that changes machines: /etc, /usr/local, /var/lib and /run belong to this process and its
# children, what they write there is gone with them. systemctl is a stand-in that writes down what it is asked.
#
# Usage, as root: unshare -m own_machine.sh FOLDER COMMAND…     FOLDER is empty and stays so outside.
set -eu
folder=$1
shift
mount -t tmpfs tmpfs "$folder"
chmod 755 "$folder"
for part in etc usr/local var/lib; do
  mkdir -p "$folder/$part/upper" "$folder/$part/work"
  mount -t overlay overlay -o "lowerdir=/$part,upperdir=$folder/$part/upper,workdir=$folder/$part/work" "/$part"
done
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$folder/bin"
cat > "$folder/bin/systemctl" <<'END'
#!/bin/sh
here=$(dirname "$0")/..
case "$1" in
  is-active) test -e "$here/active"; exit ;;
  --version) echo "systemd 252 (stand-in)"; exit ;;
  show) echo "NeedDaemonReload=no"; exit ;;
esac
echo "systemctl $*" >> "$here/asked"
case "$1" in
  start) touch "$here/active" ;;
  disable) rm -f "$here/active" ;;
esac
END
chmod 755 "$folder/bin/systemctl"
: > "$folder/asked"
PATH="$folder/bin:$PATH" FOLDER="$folder" exec "$@"
