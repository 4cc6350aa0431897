#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# kafka.sh - a real Apache Kafka for the tests: KRaft, loopback, one node, or a
# second one that has no controller.
#
#   kafka.sh jars                        fetch the jars, print their folder
#   kafka.sh start DIR                   start, wait until ready, print address
#   kafka.sh join DIR FIRST              start as broker 2 of the cluster of
#                                        broker 1, which runs in FIRST; `start`
#                                        brings it back
#   kafka.sh stop DIR                    stop in good order
#   kafka.sh kill DIR                    stop as a crash does
#   kafka.sh secure DIR                  make keys, for the next start: listeners
#                                        for TLS and for SASL/PLAIN in TLS too
#   kafka.sh address DIR [LISTENER]      print HOST:PORT of the running broker;
#                                        LISTENER: PLAINTEXT, SSL, SASL_SSL
#   kafka.sh topic DIR NAME PARTITIONS [KEY=VALUE...]
#                                        create a topic, with its settings
#   kafka.sh delete-topic DIR NAME       delete it, with its records
#   kafka.sh trim DIR NAME PARTITION OFFSET
#                                        expire the records before OFFSET
#   kafka.sh replicas DIR TOPIC BROKERS  move partition 0 of it: a list like
#                                        2,1; the first is to lead
#   kafka.sh group DIR GROUP             print a consumer group's offsets
#
# A broker that comes back gets the leadership of its partitions back within
# seconds.
#
# After `secure`, DIR/tls/ca.pem is the authority that signed the broker's
# certificate (for localhost and 127.0.0.1), DIR/tls/other-ca.pem one that did
# not, and the SASL user is mneme with the password in DIR/tls/password.
#
# DIR holds all that belongs to one broker and is made when missing; started
# again with the same DIR it has the same data, and the same address as long
# as nobody took the ports. DIR/log/ has what Kafka says; the console has one
# line when something is wrong.
#
# Exit: 0 done; 1 failed; 2 usage; 77 there can be no Kafka here (no Java, no
# Maven, jars not to be had), with the reason on stderr.
#
# Environment: MNEME_KAFKA_JARS  folder for the jars
#                                (default ~/.cache/mneme/kafka-VERSION)
#              MNEME_KAFKA_HEAP  largest heap of the broker (default 384m)
#              MNEME_KAFKA_WAIT  seconds to wait for it (default 60)
#              MNEME_KAFKA_REQUIRED  not empty: 1 instead of 77
set -u

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' \
    "$here/pom.xml")
jars=${MNEME_KAFKA_JARS:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/mneme/kafka-$version}
heap=${MNEME_KAFKA_HEAP:-384m}
wait_seconds=${MNEME_KAFKA_WAIT:-60}

fail() {
    echo "kafka.sh: $*" >&2
    exit 1
}

skip() {
    test -z "${MNEME_KAFKA_REQUIRED:-}" || fail "$*"
    echo "kafka.sh: skipped: $*" >&2
    exit 77
}

usage() {
    sed -n '/^#   kafka.sh/,/^#$/s/^# \{0,1\}//p' "$here/kafka.sh" >&2
    exit 2
}

# --- the program -----------------------------------------------------------

need_java() {
    command -v java >/dev/null 2>&1 ||
        skip "no java: apt-get install default-jre-headless"
    major=$(java -version 2>&1 |
        sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    test "${major:-0}" -ge 11 ||
        skip "java is version ${major:-unknown}, Kafka $version needs 11"
}

# The jars are complete when the mark of the pom that asked for them is there.
fetch_jars() {
    mark=$jars/complete.$(cksum <"$here/pom.xml" | cut -d ' ' -f 1)
    test -e "$mark" && return
    command -v mvn >/dev/null 2>&1 || skip "no mvn: apt-get install maven"
    mkdir -p "$jars" || fail "cannot make $jars"
    fetch=$(mktemp -d "$jars/fetch.XXXXXX") || fail "cannot write to $jars"
    trap 'rm -rf "$fetch"' EXIT
    # -C: a jar whose checksum is not the repository's is refused
    mvn -B -q -C -ntp -Dstyle.color=never -f "$here/pom.xml" "-Djars=$fetch" \
        dependency:copy-dependencies </dev/null >"$jars/mvn.log" 2>&1 ||
        skip "Maven cannot fetch Kafka $version, see $jars/mvn.log:" \
            "$(grep -m 1 ERROR "$jars/mvn.log")"
    rm -f "$jars"/*.jar "$jars"/complete.*
    mv "$fetch"/*.jar "$jars" || fail "cannot write to $jars"
    rm -rf "$fetch"
    trap - EXIT
    : >"$mark"
}

need_kafka() {
    need_java
    fetch_jars
}

# Short-lived programs start fastest with the first compiler alone.
run_class() {
    class=$1
    shift
    java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        "-Dlog4j.configuration=file:$dir/tools.properties" \
        -cp "$jars/*" "$class" "$@" </dev/null
}

# Run one of Kafka's own tools on the broker in $dir; its words go to a file.
run_tool() {
    address=$(read_address) || exit 1
    class=$1
    shift
    run_class "org.apache.kafka.tools.$class" \
        --bootstrap-server "$address" "$@" >"$dir/log/tool.log" 2>&1 ||
        fail "$(grep -m 1 -i -e error -e exception "$dir/log/tool.log" ||
            echo "$class failed, see $dir/log/tool.log")"
}

# --- the broker's folder ---------------------------------------------------

# Recorded pids outlive their process: believe one only if it runs in $dir.
is_running() {
    test -s "$dir/kafka.pid" || return 1
    pid=$(cat "$dir/kafka.pid")
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null |
        grep -qxF "$dir/server.properties"
}

read_address() {
    is_running || fail "no broker is running in $dir"
    case ${1:-PLAINTEXT} in
    PLAINTEXT) line=1 ;;
    SSL) line=3 ;;
    SASL_SSL) line=4 ;;
    *) fail "no such listener: $1" ;;
    esac
    test "$line" -le 2 || test -e "$dir/tls/ca.pem" ||
        fail "no $1 listener: kafka.sh secure $dir comes before start"
    echo "127.0.0.1:$(sed -n "${line}p" "$dir/ports")"
}

# The folder of broker 1, which alone is a controller.
first_dir() {
    if test -e "$dir/joined"; then cat "$dir/joined"; else echo "$dir"; fi
}

# The ports of last time while they are free, else some that the system gives:
# for plain text, the controller, TLS, SASL.
choose_ports() {
    python3 - "$dir/ports" <<'EOF'
import socket, sys

def bind(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(1)
    return s

path = sys.argv[1]
try:
    held = [bind(int(line)) for line in open(path)]
except OSError:
    held = []
if len(held) != 4:
    held = [bind(0) for _ in range(4)]
with open(path, "w") as f:
    f.writelines("%d\n" % s.getsockname()[1] for s in held)
EOF
}

write_config() {
    broker=$(sed -n 1p "$dir/ports")
    controller=$(sed -n 2p "$(first_dir)/ports")
    ours=PLAINTEXT://127.0.0.1:$broker
    if test -e "$dir/tls/ca.pem"; then
        ours=$ours,SSL://127.0.0.1:$(sed -n 3p "$dir/ports")
        ours=$ours,SASL_SSL://127.0.0.1:$(sed -n 4p "$dir/ports")
    fi
    roles=broker,controller id=1 all=$ours,CONTROLLER://127.0.0.1:$controller
    test ! -e "$dir/joined" || roles=broker id=2 all=$ours
    cat >"$dir/server.properties" <<EOF
process.roles=$roles
node.id=$id
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=$all
advertised.listeners=$ours
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
leader.imbalance.check.interval.seconds=1
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=2
EOF
    test ! -e "$dir/tls/ca.pem" ||
        cat >>"$dir/server.properties" <<EOF
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server.pem
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=\\
org.apache.kafka.common.security.plain.PlainLoginModule required \\
user_mneme="$(cat "$dir/tls/password")";
EOF
    write_log4j server.log INFO >"$dir/server.log4j"
    write_log4j tools.log WARN >"$dir/tools.properties"
}

write_log4j() {
    cat <<EOF
log4j.rootLogger=$2, file
log4j.appender.file=org.apache.log4j.FileAppender
log4j.appender.file.File=$dir/log/$1
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d %p %c: %m%n
EOF
}

format_storage() {
    test -e "$dir/data/meta.properties" && return
    id=$(sed -n 's/^cluster.id=//p' "$(first_dir)/data/meta.properties" \
        2>/dev/null)
    test -n "$id" ||
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AA' | cut -c 1-22)
    run_class kafka.tools.StorageTool format -t "$id" \
        -c "$dir/server.properties" >"$dir/log/format.log" 2>&1 ||
        fail "cannot format the storage, see $dir/log/format.log"
}

# --- the verbs -------------------------------------------------------------

# The line that Kafka logs once the broker may serve, after byte $1 of its log.
wait_ready() {
    tries=$((wait_seconds * 5))
    while test "$tries" -gt 0; do
        tail -c "+$(($1 + 1))" "$dir/log/server.log" 2>/dev/null |
            grep -q 'Kafka Server started' && return 0
        is_running || return 1
        sleep 0.2
        tries=$((tries - 1))
    done
    return 1
}

launch() {
    log_size=$(cat "$dir/log/server.log" 2>/dev/null | wc -c)
    java -Xms128m "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        "-Dlog4j.configuration=file:$dir/server.log4j" \
        -cp "$jars/*" kafka.Kafka "$dir/server.properties" \
        </dev/null >>"$dir/log/console.log" 2>&1 &
    echo $! >"$dir/kafka.pid"
    # until exec has happened the process still bears the shell's name
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        is_running && break
        sleep 0.1
    done
    wait_ready "$log_size"
}

start() {
    need_kafka
    command -v python3 >/dev/null 2>&1 ||
        fail "no python3: apt-get install python3"
    is_running && fail "a broker runs in $dir already (pid $pid)"
    mkdir -p "$dir/log" || fail "cannot make $dir"
    # Someone may take a port between our asking and Kafka's binding it.
    for _ in 1 2 3; do
        choose_ports || fail "no free port"
        write_config
        format_storage
        launch && read_address && return
        halt KILL
        tail -n 50 "$dir/log/server.log" | grep -q -i 'already in use' || break
    done
    fail "Kafka did not start in $wait_seconds s, see $dir/log/server.log"
}

join() {
    case $1 in
    /*) first=$1 ;;
    *) first=$PWD/$1 ;;
    esac
    test -e "$first/data/meta.properties" || fail "no broker was made in $first"
    mkdir -p "$dir" && echo "$first" >"$dir/joined" || fail "cannot make $dir"
    start
}

# Send signal $1 and wait for the end; after 30 s the end is forced.
halt() {
    if is_running; then
        kill "-$1" "$pid" 2>/dev/null
        tries=300
        while is_running && test "$tries" -gt 0; do
            sleep 0.1
            tries=$((tries - 1))
        done
        is_running && kill -KILL "$pid"
    fi
    rm -f "$dir/kafka.pid"
}

# A certificate authority of our own, $1.pem with its key.
make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj "/CN=$1" -days 30 -keyout "$1.key" -out "$1.pem"
}

make_keys() {
    make_authority ca && make_authority other-ca || return
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj /CN=localhost -keyout server.key -out server.csr &&
        echo 'subjectAltName=DNS:localhost,IP:127.0.0.1' >server.ext &&
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key \
            -CAcreateserial -days 30 -extfile server.ext -out server.crt &&
        cat server.key server.crt ca.pem >server.pem &&
        openssl rand -hex 12 >password
}

secure() {
    command -v openssl >/dev/null 2>&1 ||
        fail "no openssl: apt-get install openssl"
    mkdir -p "$dir/log" "$dir/tls" || fail "cannot make $dir/tls"
    (cd "$dir/tls" && make_keys) >"$dir/log/keys.log" 2>&1 ||
        fail "cannot make keys, see $dir/log/keys.log"
}

create_topic() {
    need_kafka
    name=$1
    partitions=$2
    shift 2
    for setting; do
        shift
        set -- "$@" --config "$setting"
    done
    run_tool TopicCommand --create --topic "$name" \
        --partitions "$partitions" --replication-factor 1 "$@"
}

delete_topic() {
    need_kafka
    run_tool TopicCommand --delete --topic "$1"
}

trim() {
    need_kafka
    printf '{"version":1,"partitions":[%s]}\n' \
        "{\"topic\":\"$1\",\"partition\":$2,\"offset\":$3}" >"$dir/trim.json"
    run_tool DeleteRecordsCommand --offset-json-file "$dir/trim.json"
    # the tool exits 0 whatever the broker said of a partition
    grep -q "partition: $1-$2.*low_watermark: $3" "$dir/log/tool.log" ||
        fail "$(grep -m 1 "partition: $1-$2" "$dir/log/tool.log")"
}

replicas() {
    need_kafka
    printf '{"version":1,"partitions":[%s]}\n' \
        "{\"topic\":\"$1\",\"partition\":0,\"replicas\":[$2]}" >"$dir/move.json"
    run_tool reassign.ReassignPartitionsCommand --execute \
        --reassignment-json-file "$dir/move.json"
}

group() {
    need_kafka
    run_tool consumer.group.ConsumerGroupCommand --describe --group "$1"
    cat "$dir/log/tool.log"
}

verb=${1:-}
if test "$verb" = jars; then
    need_kafka
    echo "$jars"
    exit 0
fi
test $# -ge 2 || usage
case $2 in
/*) dir=$2 ;;
*) dir=$PWD/$2 ;;
esac
shift 2

case $verb/$# in
start/0) start ;;
join/1) join "$@" ;;
stop/0) halt TERM ;;
kill/0) halt KILL ;;
secure/0) secure ;;
address/[01]) read_address "$@" ;;
topic/[01]) usage ;;
topic/*) create_topic "$@" ;;
delete-topic/1) delete_topic "$@" ;;
trim/3) trim "$@" ;;
replicas/2) replicas "$@" ;;
group/1) group "$@" ;;
*) usage ;;
esac
