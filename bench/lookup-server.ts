// Another store behind HTTP: the least that Node's own server needs for the look-up that `stillroom serve` answers. Knows no store.
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Answered } from "./lookup-turn.js";

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of incoming) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

/** Serves look-ups on a free port of this machine; gives the address, and what ends it. */
export async function serveLookups(
  look: (key: string) => Answered | null | Promise<Answered | null>,
): Promise<{ url: string; close: () => void }> {
  const server = createServer(async (incoming, outgoing) => {
    const { key } = JSON.parse(await bodyOf(incoming)) as { key: string };
    const found = await look(key);
    const body = JSON.stringify({
      ...{ key, hit: found !== null, answer: found?.text ?? null },
      probabilities: found?.probabilities ?? null,
    });
    const head = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    outgoing.writeHead(200, head).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}
