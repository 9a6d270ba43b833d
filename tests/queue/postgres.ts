// A PostgreSQL of a test's own: begun in a temporary folder, restarted and stopped at will. It refuses to run as root: there it runs as postgres.
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import pg from "pg";
import { afterAll } from "vitest";
import { postgresBinaries } from "../support/needs.js";

class Postgres {
  private constructor(
    readonly folder: string,
    readonly port: number,
  ) {}

  static async start(): Promise<Postgres> {
    const folder = mkdtempSync(path.join(tmpdir(), "stillroom-postgres-"));
    if (asRoot()) {
      const id = (flag: string) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
      chownSync(folder, id("-u"), id("-g"));
    }
    chmodSync(folder, 0o700);
    const postgres = new Postgres(folder, await freePort());
    postgres.#run("initdb", [
      "-D",
      postgres.#data,
      "-U",
      "test",
      "-A",
      "trust",
      "--no-sync",
      "-E",
      "UTF8",
      "--locale=C",
    ]);
    postgres.up();
    return postgres;
  }

  get url(): string {
    return `postgres://test@127.0.0.1:${this.port}/postgres`;
  }

  up(): void {
    // The tests end processes, not machines.
    const settings = `-c fsync=off -c listen_addresses=127.0.0.1 -p ${this.port} -k ${this.folder}`;
    this.#run("pg_ctl", ["-D", this.#data, "-w", "-l", path.join(this.folder, "log"), "-o", settings, "start"]);
  }

  /** As after a loss of power: connections end, and what was not committed is gone. */
  down(): void {
    this.#run("pg_ctl", ["-D", this.#data, "-m", "immediate", "-w", "stop"]);
  }

  async sql(text: string, values: unknown[] = []): Promise<pg.QueryResultRow[]> {
    const client = new pg.Client({ connectionString: this.url });
    await client.connect();
    try {
      return (await client.query(text, values)).rows;
    } finally {
      await client.end();
    }
  }

  remove(): void {
    try {
      this.down();
    } catch {
      // It was down already.
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #data(): string {
    return path.join(this.folder, "data");
  }

  #run(program: string, args: string[]): void {
    const file = path.join(postgresBinaries()!, program);
    const [command, ...all] = asRoot() ? ["runuser", "-u", "postgres", "--", file, ...args] : [file, ...args];
    execFileSync(command!, all, { stdio: "ignore", cwd: this.folder });
  }
}

/** One for the tests of a file; without its binaries there is none, and none of these tests runs. */
export async function postgresOfFile(): Promise<Postgres> {
  const postgres = postgresBinaries() ? await Postgres.start() : null;
  afterAll(() => postgres?.remove());
  return postgres!;
}

const asRoot = () => process.getuid?.() === 0;

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
