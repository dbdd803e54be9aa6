// A real identity provider with one client: Driftline. Who its people are, it reads from a file at each question.
// node provider.mjs PORT DRIFTLINE_URL PEOPLE_FILE
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [port, driftline, peopleFile] = process.argv.slice(2)
const installed = createRequire(`${process.cwd()}/.sso/oidc/package.json`)
const { default: Provider } = await import(pathToFileURL(installed.resolve('oidc-provider')))

const people = () => JSON.parse(readFileSync(peopleFile, 'utf8'))

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'driftline',
    client_secret: 'a secret of thirty-two characters',
    redirect_uris: [`${driftline}/accounts/oidc/company/login/callback/`],
    post_logout_redirect_uris: [`${driftline}/accounts/login/`],
    backchannel_logout_uri: `${driftline}/accounts/oidc/company/logout/`,
    backchannel_logout_session_required: true,
  }],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  pkce: { required: () => true },
  cookies: { keys: ['a key that signs cookies'] },
  findAccount: (_, id) => people()[id] && { accountId: id, claims: () => ({ sub: id, ...people()[id] }) },
  // Else claims would be asked for again after a change of scopes: a company's provider consents for everybody.
  async loadExistingGrant(context) {
    const { Grant } = context.oidc.provider
    const grant = new Grant({ clientId: context.oidc.client.clientId, accountId: context.oidc.session.accountId })
    grant.addOIDCScope('openid profile email groups')
    await grant.save()
    return grant
  },
})
// A company's provider reaches its programs within its own network, which here is loopback.
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'))
