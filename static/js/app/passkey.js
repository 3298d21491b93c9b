/** The form that a passkey fills in: the browser is asked what the server asks, and answers. */
const form = document.querySelector("form[data-passkey]")
const { publicKey } = JSON.parse(document.getElementById("passkey-options").textContent)
const show = (name, shown) => {
  for (const element of document.querySelectorAll(`[${name}]`)) element.hidden = !shown
}

const ceremonies = {
  create: () => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) }),
  get: () => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) }),
}

async function answer(event) {
  event.preventDefault()
  show("data-passkey-failed", false)
  try {
    form.elements.credential.value = JSON.stringify(await ceremonies[form.dataset.passkey]())
    form.submit()
  } catch (error) {
    console.warn(error)
    show("data-passkey-failed", true)
  }
}

// Browsers that have passkeys but not this are some years old.
if (globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  form.hidden = false
  show("data-passkey-missing", false)
  form.addEventListener("submit", answer)
}
