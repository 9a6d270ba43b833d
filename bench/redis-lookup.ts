// Redis's side of the look-up trial, over a Unix socket and with a client that does nothing else. node dist/bench/redis-lookup.js JOB.json PROGRAM
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { serveLookups } from "./lookup-server.js";
import { type Answered, answerOf, type LookupJob, numbersOf, Turn, textOf, whileServing } from "./lookup-turn.js";
import { emit, emitDone } from "./side.js";

/** Requests under way at once, where many may be. */
const pipeline = 128;

/** Commands in the order given, replies in the same: simple strings and bulk strings, which is all that GET and SET give. */
class Client {
  readonly #waiting: ((reply: string | null) => void)[] = [];
  #rest: Buffer = Buffer.alloc(0);

  constructor(readonly socket: Socket) {
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
  }

  send(commands: readonly string[][]): Promise<(string | null)[]> {
    const replies = commands.map(() => new Promise<string | null>((resolve) => this.#waiting.push(resolve)));
    const bulk = (part: string) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`;
    this.socket.write(commands.map((parts) => `*${parts.length}\r\n${parts.map(bulk).join("")}`).join(""));
    return Promise.all(replies);
  }

  #read(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    for (;;) {
      const line = all.indexOf("\r\n", at);
      if (line < 0) break;
      const count = all[at] === 36 /* $ */ ? Number(all.toString("latin1", at + 1, line)) : -1;
      const end = count < 0 ? line + 2 : line + 2 + count + 2;
      if (end > all.length) break;
      this.#waiting.shift()!(count < 0 ? null : all.toString("utf8", line + 2, line + 2 + count));
      at = end;
    }
    this.#rest = all.subarray(at);
  }
}

async function serve(program: string, socket: string): Promise<ChildProcess> {
  const options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"];
  const server = spawn(program, options, { stdio: ["ignore", "ignore", "inherit"] });
  process.once("exit", () => server.kill());
  process.once("SIGTERM", () => process.exit());
  while (!existsSync(socket)) await setTimeout(20);
  return server;
}

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as LookupJob;
const program = process.argv[3]!;
const socket = path.join(job.folder, "redis.sock");
const server = await serve(program, socket);
const client = new Client(connect(socket));
const began = performance.now();
for (let at = 0; at < job.keys; at += 1000) {
  const count = Math.min(1000, job.keys - at);
  await client.send(
    Array.from({ length: count }, (_, one) => ["SET", textOf(at + one), JSON.stringify(answerOf(at + one))]),
  );
}
const fill_seconds = (performance.now() - began) / 1000;
const version = execFileSync(program, ["--version"], { encoding: "utf8" }).match(/v=(\S+)/)?.[1] ?? "";
const settings = { socket: "unix", save: "never", appendonly: "no", pipeline, fill_seconds };
const ready = { event: "ready" as const, versions: { redis: version }, settings };
const answered = (reply: string | null) => (reply === null ? null : (JSON.parse(reply) as Answered));
const look = async (text: string) => answered((await client.send([["GET", text]]))[0]!);
if (job.http) {
  const front = await serveLookups(look);
  emit({ ...ready, url: front.url });
  await whileServing();
  front.close();
} else {
  emit(ready);
  let number = 0;
  for await (const _ of createInterface({ input: process.stdin })) {
    const turn = new Turn();
    const numbers = [...numbersOf(job, number++)];
    for (const key of numbers) {
      const text = textOf(key);
      const before = performance.now();
      const answer = (await look(text))?.text ?? "";
      turn.add((performance.now() - before) / 1000, answer);
    }
    const before = performance.now();
    for (let at = 0; at < numbers.length; at += pipeline)
      (await client.send(numbers.slice(at, at + pipeline).map((key) => ["GET", textOf(key)]))).map(answered);
    emit(turn.done({ pipelined_seconds: (performance.now() - before) / 1000 }));
  }
  emitDone();
}
client.socket.destroy();
server.kill();
