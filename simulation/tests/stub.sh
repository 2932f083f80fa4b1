#!/bin/sh
# Stands for the simulation where the tools around it are tested: answers at once, by the seed.
#   seeds that end in 5: fail, lost      seeds that end in 7: the process breaks
#   seed 13: depends on its addresses    plans with a wiped node: fail, lost
#   planted bug "bold": fails from seed 3 on; "sly": never
command=$1 seed=0 mutant='' trace='' plan=''
shift
while [ $# -gt 0 ]; do
    case $1 in
        --seed) seed=$2; shift ;;
        --mutant) mutant=$2; shift ;;
        --trace) trace=$2; shift ;;
        --record) shift ;;
        --json) ;;
        *) plan=$1 ;;
    esac
    shift
done

if [ "$command" = plan ]; then
    cat <<PLAN
{"version":1,"seed":$seed,
 "world":{"nodes":5,"routers":2,"groups":4,"latency_ms":[1,5],"sync_us":[100,900],
          "window_events":64,"refusal_records":8,"safety_ms":9000},
 "documents":[{"rich":false,"owner":1,"initial":40,"grants":[[2,"editor"]]}],
 "clients":[
  {"number":1,"user":1,"router":0,"document":0,"json":true,
   "acts":[{"at_ms":100,"seed":1,"what":{"type":{"letters":20,"gap_ms":50}}},
           {"at_ms":900,"seed":2,"what":"reload"}]},
  {"number":2,"user":2,"router":1,"document":0,"json":false,
   "acts":[{"at_ms":200,"seed":3,"what":{"paste":{"units":300}}}]}],
 "faults":[{"at_ms":500,"seed":4,"kind":{"crash":{"nodes":[1,2],"power":true,"for_ms":800}}},
           {"at_ms":2000,"seed":5,"kind":{"wiped":{"node":3}}},
           {"at_ms":2500,"seed":6,"kind":{"pause":{"host":{"router":1},"for_ms":500}}}]}
PLAN
    exit 0
fi

broken=false
case $seed in
    *5) [ "$command" = run ] && broken=true ;;
    *7) echo "thread 'simulation' panicked at node/src/x.rs:$seed:1: no entry" >&2; exit 101 ;;
esac
[ "$command" = replay ] && grep -q wiped "$plan" && broken=true
reached=0
case $mutant in
    bold) reached=1; [ "$seed" -ge 3 ] && broken=true ;;
    sly) reached=1 ;;
esac
hash=same-$seed
[ "$seed" = 13 ] && hash=$hash${CODRAFT_MOVED:+-moved}
[ -n "$trace" ] && printf '   0.000001 begins\n   0.000002 %s\n' "$hash" >"$trace"

violations=
$broken && violations='{"oracle":"durable","property":"O6",
 "signature":"durable: an acknowledged operation is lost","promised":"acknowledged is durable",
 "broken":"client cacacaca seq 2 is lost","at_ms":3000}'
name=null
[ -n "$mutant" ] && name="\"$mutant\""
# On one line.
cat <<VERDICT | tr -d '\n'
{"seed":$seed,"commit":"0123456789ab","scenario":null,"mutant":$name,
"faults":["crash","wiped"],"struck":{"crash":2,"loss":0},"simulated_ms":36000,"wall_ms":1000,
"acknowledged":100,"sometimes":{"rebase":1},"mutant_reached":$reached,"trace":"$hash",
"violations":[$violations]}
VERDICT
echo
$broken && exit 1
exit 0
