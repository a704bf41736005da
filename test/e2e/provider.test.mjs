// The real `serve` against a provider that nobody here wrote, with each kind of store.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { launch, look, sessionCookie, visitor } from './browser.mjs';
import { app, ask, command, folder, freePort, gatehouse, navigation, postgres, redis, secret, until } from './harness.mjs';
import { provide } from './provider.mjs';

// site writes a configuration and what it names, and adds the one user.
async function site(t, store) {
  const dir = folder(t);
  const file = (name, text) => {
    writeFileSync(path.join(dir, name), text, { mode: 0o600 });
    return path.join(dir, name);
  };
  const [port, admin, providerPort] = [await freePort(), await freePort(), await freePort()];
  const address = `http://localhost:${port}`;
  const client = { client_id: 'gatehouse', client_secret: secret(), redirect_uris: [`${address}/_gate/callback`] };
  const upstream = await app(t);
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
  - {host: localhost:${port}, path: /, upstream: "${upstream}"}
  - {host: localhost:${port}, path: /staff, upstream: "${upstream}", allow: {roles: [staff]}}
  - {host: localhost:${port}, path: /board, upstream: "${upstream}", allow: {roles: [board]}}
`);
  command('migrate', '--config', config);
  command('user', 'add', 'alice@corp.test', '--role', 'staff', '--config', config);
  return { address, admin, client, config, providerPort };
}

// serve starts the gateway and waits until it is ready.
async function serve(t, { config, admin }) {
  const run = gatehouse(t, ['serve', '--config', config]);
  await until('readiness', async () => {
    assert.ok(!run.ended(), `it ended: ${run.log}`);
    const ready = await ask(`http://127.0.0.1:${admin}/readyz`).catch(() => ({}));
    return ready.status === 200;
  });
  return run;
}

const pick = (page, account) => page.getByRole('link', { name: account }).click();
const seen = async (page) => JSON.parse(await page.locator('pre').innerText());

const stores = {
  SQLite: {},
  Postgres: { postgres: true },
  'Postgres and Redis': { postgres: true, redis: true },
};

for (const [name, store] of Object.entries(stores)) {
  test(`a whole sign-in with oidc-provider, sessions in ${name}`, async (t) => {
    const place = await site(t, store);
    const asked = await provide(t, { port: place.providerPort, client: place.client });
    const run = await serve(t, place);
    const context = await visitor(t, await launch(t));
    const page = await context.newPage();

    // Somebody whom the provider knows and we do not.
    await page.goto(`${place.address}/staff?a=%2F`);
    await pick(page, 'sub-carol');
    await page.getByRole('link', { name: 'Use another account' }).click();
    assert.equal(asked.authorizations.at(-1).prompt, 'select_account');

    // US-03: the right address, but nobody verified that it is theirs.
    await pick(page, 'sub-dave');
    await page.getByRole('link', { name: 'Use another account' }).click();

    await pick(page, 'sub-alice');
    await page.getByRole('heading', { name: 'App' }).waitFor();
    assert.equal(page.url(), `${place.address}/staff?a=%2F`);
    const { target, headers } = await seen(page);
    assert.equal(target, '/staff?a=%2F');
    assert.equal(headers['x-auth-request-email'], 'alice@corp.test');
    assert.equal(headers['x-auth-request-user'], 'alice@corp.test');
    assert.equal(decodeURIComponent(headers['x-auth-request-name']), 'Zoë Alice'); // ID-03
    assert.equal(headers['x-auth-request-groups'], 'staff');
    assert.doesNotMatch(headers.cookie ?? '', /(^|;\s*)(__Host-|__Secure-)?gate/, 'our cookie reached the app');

    assert.equal(asked.authorizations.length, 3);
    for (const query of asked.authorizations) {
      assert.equal(query.code_challenge_method, 'S256');
      assert.match(query.code_challenge, /^[\w-]{43}$/);
      assert.ok(query.nonce.length >= 16 && query.state.length >= 16);
      assert.match(query.scope, /\bopenid\b/);
    }
    for (const key of ['nonce', 'state', 'code_challenge']) {
      assert.equal(new Set(asked.authorizations.map((query) => query[key])).size, 3, `${key} is used twice`);
    }
    assert.deepEqual([asked.tokens, asked.userinfos], [3, 3]);

    // Signed in, but not for this route: a page that says as whom.
    assert.equal((await page.goto(`${place.address}/board`)).status(), 403);
    await page.getByText('alice@corp.test').first().waitFor();
    await look(page, 'forbidden');

    // The operator's view, and the operator's hand: the session ends, the cookie is dead.
    const sessions = command('session', 'ls', '--json', '--config', place.config);
    assert.match(sessions, /alice@corp\.test/);
    const cookie = await sessionCookie(context);
    command('session', 'end-all', '--yes', '--config', place.config);
    await until('the end of the session', async () => (await ask(`${place.address}/`, { headers: { ...navigation, Cookie: cookie } })).status === 303);

    // LG-06: the next sign-in is another session.
    await page.goto(`${place.address}/`);
    await page.getByRole('heading', { name: 'App' }).or(page.getByRole('link', { name: 'sub-alice' })).first().waitFor();
    if (await page.getByRole('link', { name: 'sub-alice' }).count()) await pick(page, 'sub-alice');
    await page.getByRole('heading', { name: 'App' }).waitFor();
    assert.notEqual(await sessionCookie(context), cookie);
    command('user', 'disable', 'alice@corp.test', '--config', place.config);
    await until('the end of a disabled user', async () => (await page.goto(`${place.address}/`)).status() === 403);

    // RULE-29: nothing secret is in the log.
    await run.stop();
    const secrets = [place.client.client_secret, cookie.split('=')[1], ...asked.authorizations.flatMap((query) => [query.state, query.nonce])];
    for (const text of secrets) assert.ok(!run.log.includes(text), 'a secret stands in the log');
    assert.doesNotMatch(run.log, /[?&](code|state)=|a=%2F|postgres:\/\/gate:|redis:\/\/:/);
  });
}

describe('a provider that is down', () => {
  test('LG-08 does not keep the gateway from starting, is told, and is found when it is back', async (t) => {
    const place = await site(t, {});
    const run = await serve(t, place);
    const page = await (await visitor(t, await launch(t))).newPage();
    const answer = await page.goto(`${place.address}/staff`);
    assert.ok([502, 503, 504].includes(answer.status()), `status ${answer.status()}`);
    await look(page, 'provider-down');
    assert.match(run.log, /provider|issuer/i);

    await provide(t, { port: place.providerPort, client: place.client });
    await until('the provider to be found', async () => {
      await page.goto(`${place.address}/staff`);
      return (await page.getByRole('link', { name: 'sub-alice' }).count()) > 0;
    });
    await pick(page, 'sub-alice');
    await page.getByRole('heading', { name: 'App' }).waitFor();
    assert.equal((await seen(page)).target, '/staff');
  });
});

test('a session that was idle for too long ends by itself', async (t) => {
  const place = await site(t, {});
  writeFileSync(place.config, 'session: {ttl: 2s, max_lifetime: 10s}\n', { flag: 'a' });
  await provide(t, { port: place.providerPort, client: place.client });
  await serve(t, place);
  const context = await visitor(t, await launch(t));
  const page = await context.newPage();
  await page.goto(`${place.address}/`);
  await pick(page, 'sub-alice');
  await page.getByRole('heading', { name: 'App' }).waitFor();
  const cookie = await sessionCookie(context);
  await page.waitForTimeout(3000);
  assert.equal((await ask(`${place.address}/`, { headers: { ...navigation, Cookie: cookie } })).status, 303);
});
