// exportModel() that finds, while harm is on, that quantising lost too much: a toy's gate is hard to fail.
import { StillroomError } from "../../src/support/errors.js";

type Exporting = typeof import("../../src/export/index.js");

export const harm = { on: false };

/** For vi.mock of src/export. */
export async function harmful(original: () => Promise<Exporting>): Promise<Exporting> {
  const real = await original();
  const exportModel: Exporting["exportModel"] = async (options) => {
    if (harm.on) throw new StillroomError("gate", "too much was lost", { cause: {} });
    return real.exportModel(options);
  };
  return { ...real, exportModel };
}
