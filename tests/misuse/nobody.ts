// A call into dist by a user who may not read what the test closed to it.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../src/model/index.js";

/** What a call (such as "requirePlace(file)", file being the given one) of a module of dist/src throws as nobody: its code and message, a line. */
export async function refusedToNobody(file: string, module: string, call: string): Promise<string> {
  // Root reads everything: the child becomes nobody once it has read its program.
  const program = `
    const { ${call.split("(")[0]} } = await import(${JSON.stringify(path.join(packageRoot(), "dist/src", module))});
    if (process.getuid() === 0) process.setuid(65534);
    const file = process.argv[1];
    await ${call}.catch(({ code, message }) => console.log(code, message));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, file]);
  return stdout;
}
