// A gateway with a configuration of its own, with oidc-provider as its provider and one user.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { app, ask, command, folder, freePort, gatehouse, postgres, redis, secret, until } from './harness.mjs';

// site writes a configuration and what it names, and adds the one user. Whatever more stands in the
// configuration is the caller's.
export async function site(t, { store = {}, upstream, routes = [], more = '' } = {}) {
  const dir = folder(t);
  const file = (name, text) => {
    writeFileSync(path.join(dir, name), text, { mode: 0o600 });
    return path.join(dir, name);
  };
  const [port, admin, providerPort] = [await freePort(), await freePort(), await freePort()];
  const address = `http://localhost:${port}`;
  const client = { client_id: 'gatehouse', client_secret: secret(), redirect_uris: [`${address}/_gate/callback`] };
  const behind = upstream ?? (await app(t));
  const lines = [`dir: ${path.join(dir, 'data')}`];
  if (store.postgres) lines.push(`database_file: ${file('database', await postgres(t))}`);
  if (store.redis) lines.push(`redis_file: ${file('redis', await redis(t))}`);
  const config = file('config.yaml', `
server: {listen: "127.0.0.1:${port}", public_url: "${address}", drain_delay: 0s, drain_timeout: 5s}
admin: {listen: "127.0.0.1:${admin}"}
secret: {keys_file: ${file('keys', `${randomBytes(32).toString('base64')}\n`)}}
login: {issuer: "http://localhost:${providerPort}", client_id: gatehouse, client_secret_file: ${file('client', client.client_secret)}}
store:
  ${lines.join('\n  ')}
log: {format: json}
routes:
  - {host: localhost:${port}, path: /, upstream: "${behind}"}
  - {host: localhost:${port}, path: /staff, upstream: "${behind}", allow: {roles: [staff]}}
  - {host: localhost:${port}, path: /board, upstream: "${behind}", allow: {roles: [board]}}
${routes.map((route) => `  - {host: localhost:${port}, ${route}}\n`).join('')}${more}
`);
  command('migrate', '--config', config);
  command('user', 'add', 'alice@corp.test', '--role', 'staff', '--config', config);
  return { address, admin, client, config, providerPort };
}

// serve starts the gateway and waits until it is ready.
export async function serve(t, { config, admin }) {
  const run = gatehouse(t, ['serve', '--config', config]);
  await until('readiness', async () => {
    assert.ok(!run.ended(), `it ended: ${run.log}`);
    const ready = await ask(`http://127.0.0.1:${admin}/readyz`).catch(() => ({}));
    return ready.status === 200;
  });
  return run;
}

// pick chooses an account on the provider's page.
export const pick = (page, account) => page.getByRole('link', { name: account }).click();
