// What distill() takes, and its settings: the teacher's part and the loss beside the options of tune. Reads no data.
import type { GivenPrompt } from "../evaluate/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { type NativeDistillation, type NativePrecision, precisions } from "../support/native.js";
import { requireKnown, requireOneOf, requirePath, requireReal, requireShare } from "../task/index.js";
import { type TuneOptions, tuneOptionNames } from "../train/index.js";
import { type QuantizingOptions, quantizingSettings } from "./distill-quantize.js";
import { type TeachingOptions, teachingSettings } from "./teach.js";
import { type AnswerOptions, answerSettings } from "./teacher-answers.js";

/** What distill() takes beside the options of {@link tune}. */
export interface DistillationOptions extends TeachingOptions, QuantizingOptions, AnswerOptions {
  /** The student: path of a GGUF, or an hf: URI. Its tokens are the teacher's, or a trimmed form of them (`student --vocab`, once or several times); or the teacher's are one of its own. */
  student: string;
  /** The folder of the teacher's cache, as of teach: used where it fits, made or completed where it is not whole (default: `teacher` in the RUN folder). None where all steps are on-policy. */
  cache?: string | undefined;
  /** KL(teacher || student) (default), KL(student || teacher), or the generalised Jensen-Shannon divergence. */
  loss?: NativeDistillation["loss"] | undefined;
  /** Of "jsd": the teacher's share of the mixture, above 0 and below 1 (default 0.5). */
  beta?: number | undefined;
  /** Share of the labels' own cross-entropy in the loss, from 0 to 1 (default 0.5; with onPolicy 0, and no other). */
  labelWeight?: number | undefined;
  /**
   * Weight, at least 0 (default), of the distance of the student's hidden states from the teacher's, ‖P h − t‖² / ‖t‖², with a projection P that is learnt beside
   * the student and left behind with it. The cache then keeps the teacher's states, as of teach with `hidden`.
   */
  hiddenWeight?: number | undefined;
  /** Share of the steps, from 0 (default) to 1, in which the student answers the rows itself, and the teacher, which stays open, is asked about its tokens. */
  onPolicy?: number | undefined;
  /**
   * Of the products that the student writes with in these steps (default: `precision`, which is "f32" where whole weights are trained). What it learns is computed as ever.
   */
  onPolicyPrecision?: NativePrecision | undefined;
}

/** Options of {@link distill}: those of tune, and the teacher's. */
export type DistillOptions = Omit<TuneOptions, "model"> & DistillationOptions;

const optionNames = [
  ..."student teacher teacherAdapter teacherPrecision cache topK tail loss beta temperature labelWeight hiddenWeight onPolicy onPolicyPrecision answers answerScore samples sampleTemperature sampleTopP texts quantize size quantizeAware checkLimit".split(
    " ",
  ),
];

/** The options of distillation, and those of tune. Undefined ones are left out. */
export function optionParts(options: DistillOptions) {
  requireKnown(options, [...optionNames, ...tuneOptionNames()], "distill");
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const chosen = (own: boolean) => Object.fromEntries(given.filter(([name]) => optionNames.includes(name) === own));
  const rest = chosen(false) as Omit<TuneOptions, "model">;
  if ("model" in rest) throw new StillroomError("usage", "distill has no option model: give the student as student");
  if (rest.head !== undefined) {
    const message = "expected no head: a head of the task's own learns from rows, not from a teacher";
    throw new StillroomError("usage", message, { options: ["head"] });
  }
  return { own: chosen(true) as Partial<DistillationOptions>, rest };
}

export async function distillationSettings(options: Partial<DistillationOptions>, signal: AbortSignal | undefined) {
  const {
    student,
    cache,
    loss = "forward_kl",
    beta = 0.5,
    onPolicy = 0,
    onPolicyPrecision,
    hiddenWeight = 0,
  } = options;
  const { labelWeight = onPolicy > 0 ? 0 : 0.5 } = options;
  if (student === undefined) {
    const message = "expected a path for student, received none; stillroom student makes one of a teacher";
    throw new StillroomError("usage", message, { options: ["student"] });
  }
  requirePath("student", student);
  if (cache !== undefined) requirePath("cache", cache);
  requireOneOf("loss", loss, ["forward_kl", "reverse_kl", "jsd"]);
  const { tail = loss === "forward_kl" ? "sample" : "bucket" } = options;
  if (tail === "sample" && loss !== "forward_kl") throw unexpected(`bucket with loss ${loss}`, "tail", tail);
  requireReal("beta", beta, "a number above 0 and below 1", (share) => share > 0 && share < 1);
  requireShare("labelWeight", labelWeight);
  requireReal("hiddenWeight", hiddenWeight, "a number of at least 0", (weight) => weight >= 0);
  requireShare("onPolicy", onPolicy);
  if (onPolicyPrecision !== undefined) requireOneOf("onPolicyPrecision", onPolicyPrecision, precisions);
  if (onPolicy === 0 && onPolicyPrecision !== undefined) {
    const message =
      "onPolicyPrecision is of the steps on the student's own answers, and there are none: give onPolicy too";
    throw new StillroomError("usage", message, { options: ["onPolicyPrecision", "onPolicy"] });
  }
  if (onPolicy === 1 && cache !== undefined) {
    const message =
      "all steps are on the student's own answers, of which no cache is kept: leave cache out, or give onPolicy a share below 1";
    throw new StillroomError("usage", message, { options: ["cache", "onPolicy"] });
  }
  // What the student writes is no label.
  if (onPolicy > 0 && labelWeight !== 0) throw unexpected("0 together with onPolicy", "labelWeight", labelWeight);
  return {
    ...{ student, cache, loss, beta, labelWeight, hiddenWeight, onPolicy, onPolicyPrecision },
    answering: answerSettings(options),
    quantizing: quantizingSettings(options),
    asking: { ...(await teachingSettings({ ...options, tail }, signal)), hidden: hiddenWeight > 0 },
  };
}

export type DistillationSettings = Awaited<ReturnType<typeof distillationSettings>> & { prompt: GivenPrompt };
