// SQLite's side of the look-up trial, through better-sqlite3. node dist/bench/sqlite-lookup.js JOB.json PACKAGE
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { serveLookups } from "./lookup-server.js";
import { type Answered, answerOf, filledOnce, type LookupJob, playTurns, textOf, whileServing } from "./lookup-turn.js";
import { emit } from "./side.js";

interface Statement {
  run(...values: string[]): void;
  pluck(): { get(...values: string[]): string | undefined };
}
interface Sqlite {
  pragma(text: string): void;
  exec(text: string): void;
  prepare(text: string): Statement;
}

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as LookupJob;
const load = createRequire(import.meta.url);
const Database = load(process.argv[3]!) as new (file: string) => Sqlite;
const db = new Database(path.join(job.folder, "answers.sqlite"));
// A map of the whole file, a cache of a quarter of a gigabyte, and a table that is its own index: nothing faster was found.
const settings = { journal_mode: "WAL", synchronous: "NORMAL", mmap_size: 2 ** 34, cache_size: -(2 ** 18) };
for (const [name, value] of Object.entries(settings)) db.pragma(`${name} = ${value}`);
const fill_seconds = await filledOnce(job, () => {
  db.exec("CREATE TABLE answers (text TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID");
  const insert = db.prepare("INSERT INTO answers VALUES (?, ?)");
  db.exec("BEGIN");
  for (let number = 0; number < job.keys; number++) insert.run(textOf(number), JSON.stringify(answerOf(number)));
  db.exec("COMMIT");
  db.pragma("wal_checkpoint(TRUNCATE)");
});
const select = db.prepare("SELECT answer FROM answers WHERE text = ?").pluck();
const version = db.prepare("SELECT sqlite_version()").pluck().get() ?? "";
const { version: binding } = load(path.join(process.argv[3]!, "package.json")) as { version: string };
const look = (text: string): Answered | null => {
  const found = select.get(text);
  return found === undefined ? null : (JSON.parse(found) as Answered);
};
const ready = {
  event: "ready" as const,
  versions: { sqlite: version, "better-sqlite3": binding },
  settings: { ...settings, fill_seconds },
};
if (job.http) {
  const server = await serveLookups(look);
  emit({ ...ready, url: server.url });
  await whileServing();
  server.close();
} else {
  emit(ready);
  await playTurns(job, (text) => look(text)?.text ?? "");
}
