// A server that asks for a password where the URL has none: an error with a remedy, and not a fault of ours.
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, it } from "vitest";
import { queueStatus } from "../../src/queue/index.js";

/** A message of PostgreSQL's protocol: R, its length, which step of the authentication, and what goes with it. */
function step(number: number, text: string): Buffer {
  const message = Buffer.alloc(9 + text.length);
  message.write("R");
  message.writeInt32BE(8 + text.length, 1);
  message.writeInt32BE(number, 5);
  message.write(text, 9);
  return message;
}

it("a server that asks for a password", async () => {
  const server = createServer((socket) => {
    const steps = [step(10, "SCRAM-SHA-256\0\0"), step(11, "r=a,s=b,i=1")];
    socket.on("data", () => socket.write(steps.shift() ?? "")).on("error", () => undefined);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await expect(queueStatus({ queue: `postgres://me@127.0.0.1:${port}/answers` })).rejects.toMatchObject({
    code: "missing",
    message: expect.stringContaining("it asks for a password; put one into the URL, PGPASSWORD or ~/.pgpass"),
  });
  server.close();
});
