"""Sign-in with identity providers of other products: oidc-provider, which is certified, from npm, and pysaml2."""
