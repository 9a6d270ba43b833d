#!/usr/bin/env bash
# A student of banking77: examples/banking77/student.sh FOLDER MODEL.gguf OUT. FOLDER has train.csv and test.csv, MODEL is SmolLM2-135M-Instruct, OUT
# gets all that is made; OUT/table.jsonl says what each model is worth. Begun again with the same folder, it goes on where it was.
set -eu -o pipefail
[ $# = 3 ] || { echo "examples/banking77/student.sh FOLDER MODEL.gguf OUT" >&2; exit 64; }
here="$(cd "$(dirname "$0")" && pwd)"
for file in "$1/train.csv" "$1/test.csv" "$2"; do
  [ -f "$file" ] || { echo "examples/banking77/student.sh: no file $file" >&2; exit 69; }
done
folder="$(realpath "$1")" base="$(realpath "$2")" program="$here/../../dist/bin/stillroom.js"
[ -e "$program" ] || { echo "examples/banking77/student.sh: no program $program: npm start makes it" >&2; exit 69; }
still() { node "$program" "$@"; }
still inspect "$base" >/dev/null
mkdir -p "$3"
cd "$3"
node "$here/rows.mjs" "$folder" .

# The teacher: a LoRA of 3,000 labelled rows.
still tune labels.yaml --model "$base" --precision mixed --epochs 3 --lr 5e-4 --validation-limit 100 --evaluate-every 250 --calibrate none --out teacher --resume
[ -e merged.gguf ] || still export --model "$base" --adapter teacher --quantize F16 --out merged.gguf

# It answers the texts that have no label.
if [ ! -e told.yaml ]; then
  still batch write.yaml --model "$base" --adapter teacher --precision int8 --store store --out written.jsonl
  node "$here/rows.mjs" "$folder" .
fi

# The student: 9 of 30 layers, two thirds of the feed-forward channels, and the tokens of the texts.
[ -e student.gguf ] || still student --teacher merged.gguf --task labels.yaml --vocab told.yaml --layers 9 --ffn 1024 --limit 24 --out student.gguf

# It learns what the teacher says of every token of the answers; the reference is as many steps on the labels alone.
asked=(told.yaml --teacher "$base" --teacher-adapter teacher --teacher-precision int8 --top-k 16)
learnt=(--steps 740 --batch-size 32 --lr 5e-4 --schedule cosine --validation-limit 100 --resume)
still teach "${asked[@]}" --out taught
still distill "${asked[@]}" --student student.gguf --cache taught --label-weight 0 --quantize none --evaluate-every 370 "${learnt[@]}" --out distil
still tune labels.yaml --method full --model student.gguf --evaluate-every 185 --calibrate none "${learnt[@]}" --out labels
for type in Q8_0 Q4_K_M; do
  [ -e "distil.$type.gguf" ] || still export --model distil/model.gguf --quantize "$type" --imatrix labels.yaml --check labels.yaml --limit 400 --out "distil.$type.gguf"
done

# What each is worth on the test rows.
measure() {
  local name="$1"
  shift
  if [ ! -e "$name.json" ]; then
    still eval labels.yaml "$@" --precision int8 --predictions "$name.predictions.jsonl" --json >"$name.part"
    mv "$name.part" "$name.json"
  fi
  node -p 'JSON.stringify({ model: process.argv[1], ...JSON.parse(fs.readFileSync(0)).metrics.accuracy })' "$name" <"$name.json"
}
{
  measure teacher --model "$base" --adapter teacher
  measure labels-alone --model labels/model.gguf
  measure taught --model distil/model.gguf
  measure taught-Q8_0 --model distil.Q8_0.gguf
  measure taught-Q4_K_M --model distil.Q4_K_M.gguf
} | tee table.jsonl
still compare --task labels.yaml {teacher,labels-alone,taught,taught-Q4_K_M}.predictions.jsonl
