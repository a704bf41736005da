// An OpenID provider that nobody here wrote: npm's oidc-provider, certified by the OpenID Foundation.
// Ours are only its accounts and the page on which one of them is picked.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import Provider, { interactionPolicy } from 'oidc-provider';

export const accounts = {
  'sub-alice': { email: 'alice@corp.test', email_verified: true, name: 'Zoë Alice' },
  'sub-carol': { email: 'carol@corp.test', email_verified: true, name: 'Carol' },
  'sub-dave': { email: 'alice@corp.test', email_verified: false, name: 'Not Alice' },
};

// provide starts the provider on a port. Its record says what it was asked: each authorization
// request's parameters, and how often tokens and userinfo were fetched.
export async function provide(t, { port, client }) {
  const asked = { authorizations: [], tokens: 0, userinfos: 0 };
  const provider = new Provider(`http://localhost:${port}`, settings(client));
  provider.use(async (ctx, next) => {
    if (ctx.path === '/auth') asked.authorizations.push({ ...ctx.query });
    if (ctx.path === '/token') asked.tokens++;
    if (ctx.path === '/me') asked.userinfos++;
    await next();
  });
  const answer = provider.callback();
  const server = http.createServer((req, res) => {
    if (!req.url.startsWith('/interaction/')) return answer(req, res);
    interaction(provider, req, res).catch((err) => res.writeHead(500).end(String(err)));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return asked;
}

function settings(client) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const policy = interactionPolicy.base();
  policy.add(new interactionPolicy.Prompt({ name: 'select_account', requestable: true }), 0);
  return {
    clients: [{ ...client, response_types: ['code'], grant_types: ['authorization_code'] }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    cookies: { keys: [randomUUID()] },
    features: { devInteractions: { enabled: false } },
    findAccount: (_, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
    interactions: { policy, url: (_, { uid }) => `/interaction/${uid}` },
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' }] },
    pkce: { required: () => true },
    // Nobody is asked for consent: it is the company's own client.
    async loadExistingGrant({ oidc }) {
      const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope('openid email profile');
      await grant.save();
      return grant;
    },
  };
}

// interaction shows the accounts, and ends the provider's question with the one that was picked.
async function interaction(provider, req, res) {
  const { prompt } = await provider.interactionDetails(req, res);
  const account = new URL(req.url, 'http://localhost').searchParams.get('as');
  if (account) {
    const result = { login: { accountId: account }, select_account: {} };
    return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
  }
  const links = Object.keys(accounts).map((id) => `<li><a href="?as=${id}">${id}</a></li>`);
  res.setHeader('Content-Type', 'text/html; charset=utf-8');
  res.end(`<!doctype html><html lang="en"><title>Provider</title><h1>${prompt.name}</h1><ul>${links.join('')}</ul></html>`);
}
