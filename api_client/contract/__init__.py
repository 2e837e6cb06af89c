"""The wire contract: keys, records, operations, outcomes, errors, codec, limits.

Client and worker share nothing else. It imports only the codec library and the UUID library.
"""
