"""The API server: a request comes in, is authenticated, authorised, decoded, admitted, stored and answered."""
