// pm2
module.exports = {
  apps: [
    {
      name: "shop", script: "./server.js", cwd: "app", instances: "max", exec_mode: "cluster",
      env: { NODE_ENV: "development", PORT: 3000 },
      env_production: { NODE_ENV: "production" },
      env_staging: { NODE_ENV: "staging" },
      max_memory_restart: "300M", cron_restart: "0 3 * * *", watch: true, kill_timeout: 5000, wait_ready: true,
    },
    { name: "mail worker", script: "worker.py", args: "--queue mail", autorestart: false, instances: 2, },
  ],
  deploy: { production: { host: "example.org" } },
};
