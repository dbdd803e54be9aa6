"""Sign-in with an identity provider of another product: oidc-provider, which is certified, from npm."""
