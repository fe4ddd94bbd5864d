// Load exports in an unmodified transformers.js and generate: the number of image tokens and the tokens that came out.
//
//     ONNXRUNTIME_NODE_INSTALL=skip npm install @huggingface/transformers@4.3.2
//     node tools/try_transformers_js.mjs IMAGE[,IMAGE...] EXPORT... [--out DIR]
//
// Prints a line an export and exits 1 where the image tokens are not those of its manifest (of exports with tiles: no
// whole number of tiles, since those depend on the picture; of Qwen's and LFM2-VL's: not those of the patches). With --out what went in and came out is written to DIR, a
// file an export, for tools/compare_transformers_js.py.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const given = process.argv.slice(2);
const at = given.indexOf("--out");
const out = at < 0 ? null : given.splice(at, 2)[1];
const [named, ...folders] = given;
const images = named.split(",");
const found = createRequire(resolve("package.json")).resolve("@huggingface/transformers");
const { AutoProcessor, AutoModelForImageTextToText, RawImage, env } = await import(pathToFileURL(found));
env.allowRemoteModels = false;
let wrong = 0;
for (const folder of folders.map((name) => resolve(name))) {
  env.localModelPath = dirname(folder);
  const read = (name) => JSON.parse(readFileSync(`${folder}/${name}`, "utf8"));
  const [manifest, config] = [read("manifest.json"), read("config.json")];
  const processor = await AutoProcessor.from_pretrained(basename(folder));
  const model = await AutoModelForImageTextToText.from_pretrained(basename(folder), { dtype: "fp32", device: "cpu" });
  const tiled = manifest.image != null;
  const several = tiled || ["gemma3", "paligemma"].includes(config.model_type);
  const rows = config.model_type === "mistral3"; // whose processor counts squares of the picture that it made
  const textFirst = (tiled && !rows && config.model_type !== "lfm2_vl") || config.model_type === "gemma3"; // as its processor takes them
  const asked = several && !rows ? images : images.slice(0, 1); // it takes one
  const content = [...asked.map(() => ({ type: "image" })), { type: "text", text: "What is this?" }];
  const text =
    config.model_type === "paligemma" // which has no chat template
      ? `${"<image>".repeat(asked.length)}What is this?`
      : processor.apply_chat_template([{ role: "user", content }], { add_generation_prompt: true });
  const pictures = await Promise.all(asked.map((name) => RawImage.read(name)));
  const inputs = textFirst
    ? await processor(text, pictures)
    : await processor(several && !rows ? pictures : pictures[0], text);
  const ids = Array.from(inputs.input_ids.data, Number);
  const token = config.image_token_index ?? config.image_token_id;
  const count = ids.filter((id) => id === token).length;
  const output = await model.generate({ ...inputs, do_sample: false, max_new_tokens: 16 });
  const tokens = Array.from(output.data, Number).slice(ids.length);
  const grid = inputs.image_grid_thw && Array.from(inputs.image_grid_thw.data, Number); // of one image: it takes no two
  const merge = config.vision_config.spatial_merge_size;
  const [high, wide] = inputs.pixel_values.dims.slice(-2);
  const side = config.vision_config.patch_size * config.spatial_merge_size;
  const shapes = inputs.spatial_shapes && Array.from(inputs.spatial_shapes.data, Number); // rows and columns of views
  const patches = shapes && shapes.reduce((sum, rows, at) => (at % 2 ? sum : sum + rows * shapes[at + 1]), 0);
  const good = rows ? count === (high / side) * (wide / side) : shapes ? count === patches / read("processor_config.json").image_processor.downsample_factor ** 2 : grid ? count === grid.reduce((a, b) => a * b) / merge ** 2 : tiled ? count % read("processor_config.json").image_seq_len === 0 : count === asked.length * manifest.visual_tokens;
  wrong += good ? 0 : 1;
  console.log(`${good ? "good" : "WRONG"} ${basename(folder)}: ${count} image tokens, then ${tokens.join(" ")}`);
  if (out) {
    mkdirSync(out, { recursive: true });
    const { dims, data } = inputs.pixel_values;
    const pixels = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
    writeFileSync(`${out}/${basename(folder)}.json`, JSON.stringify({ folder, text, images: asked, ids, tokens, dims, pixels, grid, shapes }));
  }
}
process.exit(wrong ? 1 : 0);
