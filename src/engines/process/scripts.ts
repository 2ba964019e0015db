// Effects on a place; see guard.ts for the variables and what runs before.

/**
 * Folders and user of a place. $1 its socket folder, $2 the folder of users (empty: none are given), $3 and $4 the
 * first and last user id. Says the id. The links <users>/<id> -> <place> are the machine's, of all installations on it: no
 * two places have the same, and one of a place that is gone is free again.
 */
export const PREPARE = `
[ -d "$D" ] || (umask 066 && mkdir "$D") || exit 74
own=
if [ -n "$2" ]; then
  [ ! -s "$C/uid" ] || read -r own < "$C/uid"
  if [ -z "$own" ]; then
    own=$3
    exec 7>>"$2/.lock" && flock 7 || exit 74
    until [ "$2/$own" -ef "$C" ]; do
      if [ -d "$2/$own" ]; then
        own=$((own + 1))
        [ "$own" -le "$4" ] || exit 72
      else
        [ ! -L "$2/$own" ] || rm -f "$2/$own"
        ln -sT "$C" "$2/$own" || exit 74
      fi
    done
    printf '%s\\n' "$own" > "$C/uid" || exit 74
  fi
fi
sockets=$1
set --
for f in "$V" "$D/tmp" "$sockets"; do
  if [ ! -d "$f" ] || [ -L "$f" ]; then set -- "$@" "$f"; fi
done
if [ $# -gt 0 ]; then
  mkdir -m 700 "$@" && { [ -z "$own" ] || chown "$own:$own" "$@"; } || exit 74
fi
if [ $# -lt 3 ]; then
  me=\${own:-$(id -u)}
  owners=$(stat -c %u "$V" "$D/tmp" "$sockets") || exit 74
  for owner in $owners; do
    case "$owner" in
      "$me") ;;
      0) [ -z "$own" ] || chown "$own:$own" "$V" "$D/tmp" "$sockets" || exit 74 ;;
      # Somebody else may have made the one in /tmp first.
      *) echo "a folder of the place belongs to somebody else" >&2; exit 74 ;;
    esac
  done
fi
printf '%s\\n' "$own"
`;

/**
 * Becomes the server, once it holds the lock that all of the server keep for as long as they live. "$@" is the command.
 * Before, it writes the texts T0, T1 and so on to the paths F in the volume: a server that runs keeps those it was started
 * with. The place's lock is given back before, and descriptor 3 told; it is told, too, why a text could not be written.
 */
export const START = `
exec 8>>"$C/server.lock" || exit 76
flock -n 8 || exit 71
if [ -n "$F" ]; then
  cd "$V" || exit 76
  as /bin/sh -c 'n=0
for path in "$@"; do
  eval "text=\\$T$n"
  printf %s "$text" > "$path" || exit 1
  n=$((n + 1))
done' sh $F 2>&3 || exit 74
fi
read -r stat < "/proc/$$/stat" && read -r boot < /proc/sys/kernel/random/boot_id || exit 76
pid=$$
cmd() { printf '%s %s %s\\n' "$pid" "\${20}" "$boot"; }
cmd \${stat##*) } > "$C/server.pid.new" && mv -f "$C/server.pid.new" "$C/server.pid" || exit 74
exec 9>&-
echo started >&3
exec 3>&-
cd "$V" || exit 76
exec "$@"
`;

/** Whether the process in server.pid is this life's server: sets pid, or empties it. */
const FIND = `
pid=; time=; boot=; stat=
[ ! -e "$C/server.pid" ] || read -r pid time boot < "$C/server.pid" || pid=
startof() { echo "\${20}"; }
if [ -n "$pid" ]; then
  read -r now < /proc/sys/kernel/random/boot_id || exit 76
  read -r stat 2>/dev/null < "/proc/$pid/stat" || stat=
  if [ -z "$stat" ] || [ "$boot" != "$now" ] ||
    [ "$(startof \${stat##*) })" != "$time" ]; then pid=; fi
fi
`;

/** Sends signal $1 to the server, where it lives. */
export const SIGNAL = `${FIND}
[ -z "$pid" ] || kill -s "$1" "$pid" 2>/dev/null || true
`;

/**
 * Kills all that is left of the server and waits until its lock is free: whoever has the lock open. Looked for with the
 * place's user, since a root without the right to trace others does not see what they have open.
 */
export const KILL = `${FIND}
flock -n "$C/server.lock" true && exit 0
[ -z "$pid" ] || kill -s KILL "$pid" 2>/dev/null
lock=$(stat -c '%d:%i' "$C/server.lock") || exit 76
for try in 1 2 3 4 5 6 7 8 9 10; do
  as /bin/sh -c 'for f in /proc/[0-9]*/fd/8; do
    if [ "$(stat -Lc "%d:%i" "$f" 2>/dev/null)" = "$1" ]; then p=\${f#/proc/}; kill -s KILL "\${p%%/*}" 2>/dev/null; fi
  done' sh "$lock"
  flock -w 1 "$C/server.lock" true && exit 0
done
echo "processes of the server do not end" >&2
exit 1
`;

/** A new folder $1 outside the volume, for account $2:$3 (empty: the present user); older ones of the place go. */
export const MAKING = `
rm -rf "$D"/making-*
mkdir -m 700 "$1" || exit 74
[ -z "$2" ] || chown "$2:$3" "$1" || exit 74
`;

/** Moves $1/made to $2 of the volume, by way of $3 there, and gives it to the place's user. */
export const MADE = `
cd "$V" || exit 76
if [ -n "$U" ]; then chown -hR "$U:$U" "$1/made" || exit 74; fi
as rm -rf -- "$3" "$2"
mv -fT -- "$1/made" "$3" || exit 74
as mv -fT -- "$3" "$2" && as sync -- "$(dirname -- "$2")" || exit 74
rm -rf -- "$D"/making-*
`;

/** All of a place but its lock and its fence; $1 the link that keeps its user id, $2 its socket folder. */
export const REMOVE = `
as find "$2" -mindepth 1 -delete 2>/dev/null
[ ! -d "$2" ] || as rmdir "$2" 2>/dev/null || rmdir "$2" 2>/dev/null
rm -rf -- "$D" || exit 74
rm -f "$C/uid" "$C/server.pid" "$C/server.pid.new" "$C/server.lock"
[ -z "$1" ] || rm -f "$1"
`;
