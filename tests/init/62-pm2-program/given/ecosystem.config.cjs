const cores = require("os").cpus().length;
module.exports = { apps: [{ name: "api", script: "server.js", instances: Math.min(cores, 1) + 1 }] };
