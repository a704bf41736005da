// Starts and stops the processes that the walks need: the gateway under test, Postgres, Redis and a
// small app behind the gateway. Everything listens on loopback, on ports that were free, and keeps
// its data in a folder that goes with it.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const binary = path.resolve(process.env.GATEHOUSE ?? '../../gatehouse');

// hang is how long anything may take before the walk is given up. It judges no speed.
const hang = 30_000;

// only what a program needs of our environment: no key of the gateway may come from there.
const env = { PATH: process.env.PATH, HOME: process.env.HOME ?? '/', TMPDIR: tmpdir(), LANG: 'C.UTF-8' };

export function secret() {
  return randomBytes(32).toString('base64');
}

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// folder makes a folder that is removed after the test. Others may pass through it, for Postgres
// does not run as root.
export function folder(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'e2e-'));
  chmodSync(dir, 0o755);
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

// until calls probe again and again until it returns something true.
export async function until(what, probe) {
  const end = Date.now() + hang;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`gave up waiting for ${what}`);
    await sleep(50);
  }
}

// gatehouse starts the binary under test. What it prints is kept: out for its standard output, log
// for its standard error. After the test it is stopped like an operator would, and must have ended by
// itself, without a panic and without a data race.
export function gatehouse(t, args) {
  const child = spawn(binary, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const run = { out: '', log: '', stop };
  child.stdout.on('data', (text) => (run.out += text));
  child.stderr.on('data', (text) => (run.log += text));
  const ended = once(child, 'close');
  let stopped = false;
  async function stop() {
    if (stopped) return;
    stopped = true;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), hang);
    const [code, signal] = await ended;
    clearTimeout(timer);
    const said = `${run.out}\n${run.log}`;
    assert.equal(signal, null, `it had to be killed: ${said}`);
    assert.equal(code, 0, `it did not end well: ${said}`);
    assert.doesNotMatch(said, /DATA RACE|panic:/);
  }
  t.after(stop);
  run.ended = () => child.exitCode !== null;
  return run;
}

// command runs a command of the binary to its end and returns what it printed.
export function command(...args) {
  const { status, stdout, stderr } = spawnSync(binary, args, { env, encoding: 'utf8', timeout: hang });
  assert.equal(status, 0, `gatehouse ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

// ask sends one request and follows nothing. The headers are exactly the given ones, as an attacker
// with an old cookie, or a script, would send them.
export function ask(url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method, headers, agent: false, timeout: hang }, async (res) => {
      res.setEncoding('utf8');
      let text = '';
      for await (const chunk of res) text += chunk;
      resolve({ status: res.statusCode, headers: res.headers, text });
    });
    req.on('timeout', () => req.destroy(new Error(`no answer from ${url}`)));
    req.on('error', reject);
    req.end(body);
  });
}

// navigation is how a browser on plain http asks for a page, as far as the gateway looks.
export const navigation = {
  Accept: 'text/html',
  'Sec-Fetch-Mode': 'navigate',
  'Sec-Fetch-Dest': 'document',
};

// app starts an app that knows nothing of signing in. It answers with a page that holds, as JSON, what
// it was asked and told, unless it is given another answer.
export async function app(t, answer = tell) {
  const server = http.createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

function tell(req, res) {
  const told = JSON.stringify({ method: req.method, target: req.url, headers: req.headers });
  const shown = told.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  res.setHeader('Content-Type', 'text/html; charset=utf-8');
  res.end(`<!doctype html><html lang="en"><title>App</title><main><h1>App</h1><pre>${shown}</pre></main></html>`);
}

// postgres starts a server of its own and returns its URL.
export async function postgres(t) {
  const dir = folder(t);
  const data = path.join(dir, 'data');
  const password = secret();
  const pwfile = path.join(dir, 'password');
  const as = unprivileged();
  mkdirSync(data, { mode: 0o700 });
  writeFileSync(pwfile, password, { mode: 0o600 });
  for (const name of [data, pwfile]) chownSync(name, as.uid, as.gid);
  execFileSync('initdb', ['-D', data, '-U', 'gate', '-A', 'scram-sha-256', '--pwfile', pwfile, '--no-sync', '-E', 'UTF8'], { ...as, env, cwd: '/', stdio: 'pipe' });
  const port = await freePort();
  await server(t, 'postgres', ['-D', data, '-p', port, '-h', '127.0.0.1', '-k', '', '-c', 'fsync=off'], { ...as, port, cwd: '/', signal: 'SIGINT', ready: 'ready to accept connections' });
  return `postgres://gate:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres?sslmode=disable`;
}

// unprivileged is whom Postgres runs as: it refuses to run as root.
function unprivileged() {
  if (process.getuid() !== 0) return { uid: process.getuid(), gid: process.getgid() };
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

// redis starts a server of its own and returns its URL.
export async function redis(t) {
  const dir = folder(t);
  const port = await freePort();
  const password = randomBytes(24).toString('hex');
  await server(t, 'redis-server', ['--bind', '127.0.0.1', '--port', port, '--dir', dir, '--save', '', '--requirepass', password], { port, cwd: dir, signal: 'SIGTERM', ready: 'Ready to accept connections' });
  return `redis://:${password}@127.0.0.1:${port}/0`;
}

// server starts a program and waits until it says that it is ready.
async function server(t, program, args, { ready, signal, uid, gid, cwd }) {
  const child = spawn(program, args.map(String), { env, uid, gid, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.on('error', (err) => (said += err.message));
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text));
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill(signal);
    await ended;
  });
  await until(`${program}: ${said}`, () => {
    assert.equal(child.exitCode, null, `${program} ended: ${said}`);
    return said.includes(ready);
  });
}
