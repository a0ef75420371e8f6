// How large the client is for a page: bundled, minified, gzip -9. Usage: node tests/size.mjs [LIMIT in bytes]. Needs console/node_modules.
import { gzipSync } from "node:zlib";
import { build } from "../../../console/node_modules/vite/dist/node/index.js";

const made = await build({
  logLevel: "error", configFile: false,
  build: { write: false, minify: true, target: "es2022", lib: { entry: new URL("../src/index.ts", import.meta.url).pathname, formats: ["es"] } },
});
const code = made[0].output[0].code;
const bytes = gzipSync(code, { level: 9 }).length;
console.log(`${code.length} bytes minified, ${bytes} gzip`);
process.exit(bytes <= Number(process.argv[2] ?? 6144) ? 0 : 1);
