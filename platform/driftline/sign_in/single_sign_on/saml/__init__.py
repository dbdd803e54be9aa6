"""Sign-in by an identity provider over SAML 2.0 (Web Browser SSO profile, single logout).

Input: the metadata of a provider, its signed responses and logout requests. Output: what it says of a person, as
`PersonClaims`; accounts, roles and sessions follow from those as with OpenID Connect.

python3-saml and xmlsec check signatures and the schema. Only modules that views import on demand load them, so that an
installation without SAML needs neither.

Start with `response.py`, which says when a provider is believed.
"""
