// What a server says before there is a connection: that it wants a password, that it has no room for a client or on its disk. Spoken by a server of the test's own.
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, it } from "vitest";
import { queueStatus } from "../../src/queue/index.js";

/** A message of PostgreSQL's protocol: its letter, its length, a number where it has one, and what goes with it. */
function message(letter: string, number: number | null, text: string): Buffer {
  const head = Buffer.alloc(number === null ? 5 : 9);
  head.write(letter);
  head.writeInt32BE(head.length - 1 + text.length, 1);
  if (number !== null) head.writeInt32BE(number, 5);
  return Buffer.concat([head, Buffer.from(text)]);
}

/** The URL of a server that says these to each client, one after each of the client's messages; and its end. */
async function saying(messages: readonly Buffer[]) {
  const server = createServer((socket) => {
    const left = [...messages];
    socket.on("data", () => socket.write(left.shift() ?? "")).on("error", () => undefined);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return { queue: `postgres://me@127.0.0.1:${port}/answers`, close: () => server.close() };
}

it("a server that asks for a password is refused with where to put one", async () => {
  const { queue, close } = await saying([message("R", 10, "SCRAM-SHA-256\0\0"), message("R", 11, "r=a,s=b,i=1")]);
  await expect(queueStatus({ queue })).rejects.toMatchObject({
    code: "missing",
    message: expect.stringContaining("it asks for a password; put one into the URL, PGPASSWORD or ~/.pgpass"),
  });
  close();
});

it("a server without room for a further client is there: it is asked again for as long as the patience lasts", async () => {
  const { queue, close } = await saying([message("E", null, "SFATAL\0C53300\0Mtoo many clients\0\0")]);
  const warnings: string[] = [];
  const onWarning = (warning: string) => warnings.push(warning);
  await expect(queueStatus({ queue, patience: 1, onWarning })).rejects.toMatchObject({ code: "missing" });
  expect(warnings).toEqual([expect.stringMatching(/does not answer \(too many clients\); trying again for 1 s/)]);
  close();
});

it("a server whose disk is full is an error of the disk, and is not asked again", async () => {
  const full = "SFATAL\0C53100\0Mcould not extend file: No space left on device\0\0";
  const { queue, close } = await saying([message("E", null, full)]);
  await expect(queueStatus({ queue, patience: 60 })).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/could not extend file: No space left on device; make room there/),
  });
  close();
});
