// The room's door: texts to vectors.
export { type EmbedOptions, embed, embedRows, type Pooling, poolings, requirePooling } from "./embed.js";
