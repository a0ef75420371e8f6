// Builds the page into the role that serves it. The names of the files never change: the server embeds them and answers with their checksums.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [svelte()],
  base: "./",
  resolve: { alias: { "@madang/chat": new URL("../../clients/javascript/src/index.ts", import.meta.url).pathname } },
  build: {
    outDir: "../../roles/chat/page/dist",
    emptyOutDir: true,
    target: ["es2022", "chrome111", "firefox115", "safari16.4"],
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    rollupOptions: { output: { entryFileNames: "chat.js", chunkFileNames: "chat-[name].js", assetFileNames: (file) => (file.names[0]?.endsWith(".css") ? "chat.css" : "[name][extname]") } },
  },
  server: { proxy: { "/ws": { target: "ws://127.0.0.1:8099", ws: true }, "/files": "http://127.0.0.1:8099" } },
});
